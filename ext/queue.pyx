# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Waiting for room at an endpoint.

Facts
  1  A pool's tickets come from one shared counter, so they say who came first, whichever worker accepted him.
     Between taking a ticket and showing it lies less than a microsecond, in which the next one may pass.
  2  A worker looks at its queues when room was made in it, and every millisecond for what others made. It
     leaves a mark each time; a worker whose mark is older than SILENT_NS is stopped, and is passed over until
     it goes on. A dead one's head is cleared by the supervisor.
  3  `queue.max` is compared with the sum over the workers: it may be passed by as many as workers queue
     somebody at the same moment, workers - 1.
  4  Whoever had his turn and found an endpoint that fails waits at the head, for what is left of
     `queue.timeout`, and for no turn. He may have tried what has room, and must not hold up those behind him,
     who have not: so he is in no order with them.
  5  A client that sends its end of stream while it waits stays: it may still read. One that resets is gone.
  6  A pool without an eligible endpoint has nothing to wait for: all of its queue ends at once (no_endpoint).
  7  A session waits for the pool that its listener named when it came. When a reload names another one, it
     goes there when it is the first here.

Rejected: handing room over to the worker whose turn it is (a message between workers, and a worker that does
not answer would keep it); a queue per endpoint (a session would wait for one while another has room).
"""
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from lb._ext.board cimport *
from lb._ext.debug cimport count_down
from lb._ext.linux cimport fetch_and_count, load_acquire, store_release
from lb._ext.state cimport *
from lb._ext.table cimport header_t, listener_t, pool_t
from lb._ext.transitions cimport become
from lb._ext.wheel cimport clear_deadline, set_deadline, start_wheel

cdef uint64_t NEVER = <uint64_t>-1
cdef uint64_t SILENT_NS = 1000000000  # when the supervisor calls a worker silent, too


cdef bint somebody_waits(engine_t* e, uint32_t pool) noexcept nogil:
    return lowest_ticket(e, pool) != NEVER


cdef uint64_t lowest_ticket(engine_t* e, uint32_t pool) noexcept nogil:
    """Of those that workers show, and NEVER when none does."""
    cdef pool_cell_t* cell
    cdef uint64_t ticket, lowest = NEVER
    cdef uint32_t worker
    for worker in range(e.board.count):
        cell = &e.board.pools[<size_t>worker * POOLS_MAX + pool]
        ticket = load_acquire(&cell.queue_head)
        if ticket and ticket < lowest and (
                worker == e.worker or load_acquire(&cell.queue_seen_ns) + SILENT_NS > e.now_ns):
            lowest = ticket
    return lowest


cdef bint enqueue(engine_t* e, session_t* s, const pool_t* pool) noexcept nogil:
    cdef pool_cell_t* cell = &e.pools[s.pool]
    cdef uint64_t waited_ms = s.queued_ns // 1000000
    if pool.queue_max == 0 or pool_queued(&e.board, s.pool) >= pool.queue_max:
        return False
    if s.queued_ns == 0:
        cell.queued_total += 1
    if s.had_turn:
        put_before(e, s, e.queue_fresh[s.pool])
    else:
        s.ticket = fetch_and_count(&e.board.cursors[<size_t>s.pool * 8 + 1]) + 1
        put_before(e, s, NONE)
        if e.queue_fresh[s.pool] == NONE:
            e.queue_fresh[s.pool] = s.index
    cell.queued += 1
    e.queued_count += 1
    store_release(&cell.queue_seen_ns, e.now_ns)
    show_head(e, s.pool)
    become(s, QUEUED)
    s.queued_ns = e.now_ns - s.queued_ns
    set_deadline(e, s, e.now_ms + max(<uint64_t>pool.queue_timeout_ms, waited_ms) - waited_ms)
    return True


cdef void put_before(engine_t* e, session_t* s, uint32_t next) noexcept nogil:
    """NONE: at the end."""
    cdef uint32_t before = e.queue_last[s.pool] if next == NONE else e.slots[next].queue_prev
    s.queue_prev, s.queue_next = before, next
    if before == NONE:
        e.queue_first[s.pool] = s.index
    else:
        e.slots[before].queue_next = s.index
    if next == NONE:
        e.queue_last[s.pool] = s.index
    else:
        e.slots[next].queue_prev = s.index


cdef void leave_queue(engine_t* e, session_t* s) noexcept nogil:
    if s.queue_prev == NONE:
        e.queue_first[s.pool] = s.queue_next
    else:
        e.slots[s.queue_prev].queue_next = s.queue_next
    if s.queue_next == NONE:
        e.queue_last[s.pool] = s.queue_prev
    else:
        e.slots[s.queue_next].queue_prev = s.queue_prev
    if e.queue_fresh[s.pool] == s.index:
        e.queue_fresh[s.pool] = s.queue_next
    s.queue_prev = s.queue_next = NONE
    count_down(&e.pools[s.pool].queued)
    count_down(&e.queued_count)
    show_head(e, s.pool)
    become(s, CONNECTING)
    s.queued_ns = e.now_ns - s.queued_ns


cdef void show_head(engine_t* e, uint32_t pool) noexcept nogil:
    cdef uint32_t first = e.queue_fresh[pool]
    store_release(&e.pools[pool].queue_head, 0 if first == NONE else e.slots[first].ticket)


cdef session_t* next_served(engine_t* e, uint32_t pool) noexcept nogil:
    cdef uint32_t first = e.queue_fresh[pool]
    if first == NONE:
        return NULL
    store_release(&e.pools[pool].queue_seen_ns, e.now_ns)
    if waits_for_nothing(e, &e.slots[first]) or lowest_ticket(e, pool) == e.slots[first].ticket:
        return &e.slots[first]
    return NULL


cdef bint waits_for_nothing(const engine_t* e, const session_t* s) noexcept nogil:
    return (s.listener >= e.table.header.listeners_count or not e.table.listeners[s.listener].present
            or e.table.listeners[s.listener].pool != s.pool or e.table.pools[s.pool].eligible_count == 0)


# ---- For tests --------------------------------------------------------------------------------------

cdef class QueueOfWorker:
    """One worker's part of the queue of pool 0, in which sessions are numbers and the time is a test's."""

    cdef engine_t* e
    cdef header_t header
    cdef listener_t listener
    cdef pool_t pool
    cdef uint32_t heads[3]

    def __cinit__(self, int board_fd, uint32_t worker, uint32_t sessions, uint32_t queue_max):
        cdef engine_t* e = <engine_t*>calloc(1, sizeof(engine_t))
        self.e = e
        if map_board(board_fd, &e.board) == -1:
            raise ValueError("it is no scoreboard")
        e.slots = <session_t*>calloc(sessions, sizeof(session_t))
        memset(self.heads, 0xFF, sizeof(self.heads))
        e.queue_first, e.queue_fresh, e.queue_last = &self.heads[0], &self.heads[1], &self.heads[2]
        e.worker, e.pools = worker, e.board.pools + <size_t>worker * POOLS_MAX
        self.header.listeners_count = self.listener.present = self.pool.eligible_count = 1
        self.pool.queue_max, self.pool.queue_timeout_ms = queue_max, 5000
        e.table.header, e.table.listeners, e.table.pools = &self.header, &self.listener, &self.pool
        start_wheel(e)
        for i in range(sessions):
            e.slots[i].index, e.slots[i].wheel_place, e.slots[i].state = i, NONE, OPENING

    def __dealloc__(self):
        unmap_board(&self.e.board)
        free(self.e.slots)
        free(self.e)

    def enqueue(self, uint32_t number, bint had_turn, uint64_t now_ns) -> bool:
        self.e.now_ns, self.e.slots[number].had_turn = now_ns, had_turn
        return enqueue(self.e, &self.e.slots[number], &self.pool)

    def leave(self, uint32_t number, uint64_t now_ns) -> int:
        """How long it has waited in all, in nanoseconds."""
        self.e.now_ns = now_ns
        leave_queue(self.e, &self.e.slots[number])
        clear_deadline(self.e, &self.e.slots[number])
        return self.e.slots[number].queued_ns

    def next_served(self, uint64_t now_ns):
        cdef session_t* s
        self.e.now_ns = now_ns
        s = next_served(self.e, 0)
        return None if s == NULL else s.index

    def somebody_waits(self, uint64_t now_ns) -> bool:
        self.e.now_ns = now_ns
        return somebody_waits(self.e, 0)

    def in_order(self) -> list:
        """From the first to the last, once by each link."""
        forth, back = [], []
        index = self.e.queue_first[0]
        while index != NONE:
            forth.append(index)
            index = self.e.slots[index].queue_next
        index = self.e.queue_last[0]
        while index != NONE:
            back.insert(0, index)
            index = self.e.slots[index].queue_prev
        return [forth, back]
