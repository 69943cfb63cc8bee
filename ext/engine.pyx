# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The Python surface of the data path: one Engine per worker. What a turn does is in turn.pyx."""
import os

from libc.stdint cimport int64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from lb._ext.accept cimport settle_tokens
from lb._ext.audit cimport check_closed
from lb._ext.board cimport (
    ENDPOINTS_MAX, FAILURES, LISTENERS_MAX, POOLS_MAX, REASON_SHUTDOWN, SOURCES_MAX,
    fast_bounds_us, map_board, observe, unmap_board,
)
from lb._ext.debug cimport close_owned
from lb._ext.gate cimport return_token
from lb._ext.linux cimport *
from lb._ext.ring cimport map_ring, unmap_ring
from lb._ext.session cimport close_some
from lb._ext.slab cimport free_spares
from lb._ext.state cimport *
from lb._ext.table cimport map_table, table_t, unmap_table
from lb._ext.turn cimport TURN_FAILURES, TURN_MORE, read_clock, run_ready, serve, step
from lb._ext.wheel cimport start_wheel

from lb._ext.board import FAILURE_NAMES, REASON_NAMES

# What serve() and step() report.
MORE = TURN_MORE  # call again soon, without waiting for an event
FAILURES_SEEN = TURN_FAILURES  # take_failures() has something


cdef class Engine:
    """The data path of one worker. Not thread-safe; every call is the worker's own."""

    def __cinit__(self, *, uint32_t worker, uint32_t sessions_max, uint64_t sessions_max_all,
                  uint32_t pipes_max, int board_fd, int ring_fd):
        """`ring_fd` -1: no access log. The descriptors stay the caller's. Raises OSError, ValueError."""
        cdef engine_t* e = <engine_t*>calloc(1, sizeof(engine_t))
        if e == NULL:
            raise MemoryError
        self.e, self.places = e, {}
        e.epfd = e.timer_fd = -1
        if map_board(board_fd, &e.board) == -1 or worker >= e.board.count:
            raise ValueError("the scoreboard is not one of this version's")
        if ring_fd != -1:
            e.ring = map_ring(ring_fd)
            if e.ring == NULL:
                raise ValueError("the access-log ring is not one of this version's")
        e.worker, e.sessions_max_all, e.pipes_max = worker, sessions_max_all, pipes_max
        e.cell = &e.board.workers[worker]
        e.endpoints = e.board.endpoints + <size_t>worker * ENDPOINTS_MAX
        e.listeners = e.board.listeners + <size_t>worker * LISTENERS_MAX
        e.pools = e.board.pools + <size_t>worker * POOLS_MAX
        e.sources = e.board.sources + <size_t>worker * SOURCES_MAX
        e.open = e.board.endpoint_open + <size_t>worker * ENDPOINTS_MAX
        e.listener_open = e.board.listener_open + <size_t>worker * LISTENERS_MAX
        e.failures = <uint32_t*>calloc(ENDPOINTS_MAX * FAILURES, sizeof(uint32_t))
        e.failed = <uint32_t*>calloc(ENDPOINTS_MAX, sizeof(uint32_t))
        e.in_row = <uint32_t*>calloc(ENDPOINTS_MAX, sizeof(uint32_t))
        e.queue_first = <uint32_t*>malloc(POOLS_MAX * sizeof(uint32_t))
        e.queue_fresh = <uint32_t*>malloc(POOLS_MAX * sizeof(uint32_t))
        e.queue_last = <uint32_t*>malloc(POOLS_MAX * sizeof(uint32_t))
        e.retrying = <retries_t*>calloc(POOLS_MAX, sizeof(retries_t))
        e.starved = <uint32_t*>calloc(LISTENERS_MAX, sizeof(uint32_t))
        e.source_turns = <uint32_t*>calloc(POOLS_MAX, sizeof(uint32_t))
        e.slots_max = min(sessions_max, <uint32_t>SESSIONS_MAX)
        e.slots = <session_t*>mmap(NULL, e.slots_max * sizeof(session_t), PROT_READ | PROT_WRITE,
                                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
        if (e.failures == NULL or e.failed == NULL or e.in_row == NULL or e.queue_first == NULL
                or e.queue_fresh == NULL or e.queue_last == NULL or e.retrying == NULL or e.starved == NULL
                or e.source_turns == NULL or e.slots == <session_t*>MAP_FAILED):
            raise MemoryError
        memset(e.queue_first, 0xFF, POOLS_MAX * sizeof(uint32_t))
        memset(e.queue_fresh, 0xFF, POOLS_MAX * sizeof(uint32_t))
        memset(e.queue_last, 0xFF, POOLS_MAX * sizeof(uint32_t))
        e.slots_free = e.ready_first = e.ready_last = NONE
        e.random = <uint32_t>(<uint64_t>2654435769 * <uint64_t>(worker + 1) ^ clock_ns(CLOCK_MONOTONIC)) | 1
        read_clock(e)
        start_wheel(e)
        open_epoll(e)

    def __dealloc__(self):
        if self.e == NULL:
            return
        self.close()
        free(self.e)

    def close(self) -> None:
        """Cuts every session and gives everything back. A second call does nothing."""
        cdef engine_t* e = self.e
        if e.epfd != -1:
            for index in range(e.listenings_high):  # `places` may be gone by now
                if e.listenings[index].fd != -1:
                    forget_listening(e, &e.listenings[index])
            cut_all(e)
            free_spares(e)
            check_closed(e)
            close_owned(e.epfd)
            e.epfd = -1
        if e.timer_fd != -1:
            close_owned(e.timer_fd)
            e.timer_fd = -1
        if e.slots != NULL and e.slots != <session_t*>MAP_FAILED:
            munmap(e.slots, e.slots_max * sizeof(session_t))
        e.slots = NULL
        free(e.failures)
        free(e.failed)
        free(e.in_row)
        free(e.queue_first)
        free(e.queue_fresh)
        free(e.queue_last)
        free(e.retrying)
        free(e.starved)
        free(e.source_turns)
        e.failures = e.failed = e.in_row = e.queue_first = e.queue_fresh = e.queue_last = NULL
        e.starved = e.source_turns = NULL
        e.retrying = NULL
        e.failed_count = 0
        unmap_table(&e.table)
        unmap_ring(e.ring)
        e.ring = NULL
        unmap_board(&e.board)

    # ---- Turning --------------------------------------------------------------------------------

    def fileno(self) -> int:
        return self.e.epfd

    def watch(self, int fd) -> None:
        """serve() returns when `fd` is readable: the epoll descriptor of the worker's loop. It stays the
        caller's, and is watched until the engine is closed. Raises OSError."""
        cdef epoll_event event
        check_open(self.e)
        event.events, event.data.u64 = EPOLLIN, <uint64_t>MARK_CALL << 32
        if epoll_ctl(self.e.epfd, EPOLL_CTL_ADD, fd, &event) == -1:
            raise OSError(errno, os.strerror(errno))

    def serve(self, int for_ms) -> int:
        """Turns for `for_ms`, or until the watched descriptor is readable, failures are seen that were not
        told of yet, or a signal has come. Returns MORE and FAILURES_SEEN, or'ed."""
        cdef engine_t* e = self.e
        cdef int found = 0
        check_open(e)
        with nogil:
            found = serve(e, for_ms)
        return found

    def step(self) -> int:
        """Drains a batch without waiting; returns MORE and FAILURES_SEEN, or'ed."""
        cdef int found
        if self.e.epfd == -1:  # a turn of the loop that was asked for before close()
            return 0
        with nogil:
            found = step(self.e)
        return found

    def beat(self, uint64_t lag_us) -> None:
        """A sign of life, and how late the loop came to give it."""
        check_open(self.e)
        read_clock(self.e)
        self.e.cell.heartbeat_ns = self.e.now_ns
        observe(&self.e.cell.lag, fast_bounds_us, lag_us)

    # ---- Orders ---------------------------------------------------------------------------------

    def publish(self, int fd) -> int:
        """Swaps in the snapshot behind `fd`, which stays the caller's; returns its generation.

        Raises ValueError with the reason; then the one before stays.
        """
        cdef table_t table
        cdef const char* why = NULL
        check_open(self.e)
        memset(&table, 0, sizeof(table))
        if map_table(fd, &table, &why) == -1:
            raise ValueError(f"the snapshot is refused: {why.decode()}")
        if (table.header.endpoints_count > ENDPOINTS_MAX or table.header.listeners_count > LISTENERS_MAX
                or table.header.pools_count > POOLS_MAX):
            unmap_table(&table)
            raise ValueError("the snapshot is refused: it is larger than the scoreboard")
        settle_tokens(self.e, &table)
        unmap_table(&self.e.table)
        self.e.table = table
        self.e.board.header.endpoints_high = max(
            self.e.board.header.endpoints_high, table.header.endpoints_count)
        self.e.board.header.listeners_high = max(
            self.e.board.header.listeners_high, table.header.listeners_count)
        self.e.board.header.pools_high = max(self.e.board.header.pools_high, table.header.pools_count)
        self.e.room_made = True
        return table.header.generation

    def listen(self, uint32_t socket, uint32_t listener, int fd) -> None:
        """Accepts from `fd`, which is the engine's from now on. A known socket gets the listener id."""
        cdef engine_t* e = self.e
        cdef epoll_event event
        cdef uint32_t place = e.listenings_high
        if e.epfd == -1:
            close(fd)
            check_open(e)
        if socket in self.places:
            return_token(e, &e.listenings[self.places[socket]])
            e.listenings[self.places[socket]].listener = listener
            close(fd)
            return
        if len(self.places) < e.listenings_high:
            place = free_place(e)
        if place >= LISTENINGS_MAX:
            close(fd)
            raise ValueError(f"more than {LISTENINGS_MAX} listening sockets")
        event.events, event.data.u64 = EPOLLIN, <uint64_t>MARK_LISTENING << 32 | place
        if epoll_ctl(e.epfd, EPOLL_CTL_ADD, fd, &event) == -1:
            error = errno
            close(fd)
            raise OSError(error, os.strerror(error))
        e.listenings[place].fd = fd
        e.listenings[place].listener, e.listenings[place].paused = listener, 0
        e.listenings_high = max(e.listenings_high, place + 1)
        self.places[socket] = place

    def unlisten(self, uint32_t socket) -> bool:
        """Accepts no more from it, and closes this process's descriptor. False: it was not known."""
        if self.e.epfd == -1 or socket not in self.places:
            return False
        forget_listening(self.e, &self.e.listenings[self.places.pop(socket)])
        return True

    def unlisten_all(self) -> None:
        for socket in list(self.places):
            self.unlisten(socket)

    def close_some(self, int64_t endpoint, int64_t listener, str reason, uint32_t start) -> int:
        """Cuts sessions of an endpoint, or of a listener, or (both -1) all, from slot `start` on. Those that
        are still being connected to that endpoint have lost nothing: they try another.

        A bounded number per call: returns the slot to go on from, or -1 when all were looked at.
        """
        cdef int number = REASON_NAMES.index(reason)
        cdef int64_t following
        if self.e.epfd == -1:
            return -1
        with nogil:
            read_clock(self.e)
            following = close_some(self.e, endpoint, listener, number, start)
        return following

    def take_failures(self) -> dict:
        """{endpoint id: {reason: count}} of what failed since the last call. With the reasons stands
        `in_row`: how many in a row these came to at most, with those that other workers saw."""
        cdef engine_t* e = self.e
        cdef uint32_t index
        cdef int kind
        cdef uint32_t* counts
        found = {}
        for index in range(e.failed_count):
            counts = e.failures + <size_t>e.failed[index] * FAILURES
            found[e.failed[index]] = {
                FAILURE_NAMES[kind]: counts[kind] for kind in range(FAILURES) if counts[kind]}
            found[e.failed[index]]["in_row"] = e.in_row[e.failed[index]]
            e.in_row[e.failed[index]] = 0
            memset(counts, 0, FAILURES * sizeof(uint32_t))
        e.failed_count = e.failures_told = 0
        return found

    @property
    def sessions_open(self) -> int:
        return self.e.cell.sessions_open if self.e.epfd != -1 else 0

    def held(self) -> dict:
        """What is taken and not yet given back; all 0 when no session is left."""
        return {
            "slots": self.e.slots_used,
            "descriptors": self.e.descriptors_open,
            "blocks": self.e.blocks_used,
            "pipes": self.e.pipes_used,
            "details": self.e.details_used,
            "deadlines": self.e.deadlines_set,
            "queued": self.e.queued_count,
            "starved": self.e.starved_count,
            "retrying": retrying(self.e),
        }

    @property
    def tokens_held(self) -> int:
        """Of rate_max, each for a listening socket with a client who waits until it is due."""
        return sum([self.e.listenings[i].token_ns != 0 for i in range(self.e.listenings_high)])

    @staticmethod
    def slot_bytes() -> int:
        return sizeof(session_t)


# ---- Lifecycle --------------------------------------------------------------------------------------

cdef uint32_t retrying(const engine_t* e) noexcept nogil:
    """Sessions on a further attempt, after one that hung."""
    cdef uint32_t pool, total = 0
    if e.retrying != NULL:
        for pool in range(<uint32_t>POOLS_MAX):
            total += e.retrying[pool].open
    return total


cdef int check_open(engine_t* e) except -1:
    if e.epfd == -1:
        raise ValueError("the engine is closed")
    return 0


cdef int open_epoll(engine_t* e) except -1:
    cdef epoll_event event
    e.epfd = epoll_create1(EPOLL_CLOEXEC)
    e.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK)
    event.events, event.data.u64 = EPOLLIN | <uint32_t>EPOLLET, <uint64_t>MARK_TIMER << 32
    if e.epfd == -1 or e.timer_fd == -1 or epoll_ctl(e.epfd, EPOLL_CTL_ADD, e.timer_fd, &event) == -1:
        raise OSError(errno, os.strerror(errno))
    return 0


cdef uint32_t free_place(const engine_t* e) noexcept nogil:
    cdef uint32_t place = 0
    while place < e.listenings_high and e.listenings[place].fd != -1:
        place += 1
    return place


cdef void forget_listening(engine_t* e, listening_t* here) noexcept nogil:
    """Other processes hold copies of it, so close() alone would leave it in the epoll set."""
    if here.paused:
        e.paused_count -= 1
    else:
        epoll_ctl(e.epfd, EPOLL_CTL_DEL, here.fd, NULL)
    return_token(e, here)
    close_owned(here.fd)
    here.fd, here.paused = -1, 0


# ---- Cutting ----------------------------------------------------------------------------------------

cdef void cut_all(engine_t* e) noexcept nogil:
    cdef int64_t start = 0
    read_clock(e)
    while start >= 0:
        start = close_some(e, -1, -1, REASON_SHUTDOWN, <uint32_t>start)
    run_ready(e)
