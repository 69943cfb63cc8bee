# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The scoreboard: made and read by the supervisor, written by workers (see board.pxd for the layout)."""
import os
import struct

from libc.string cimport memset

from lb._ext.linux cimport *
from lb._ext.table cimport LAYOUT

cdef uint64_t MAGIC = 0x6C6220626F617264  # "lb board"

cdef enum:
    PAGE = 4096
    BOUNDS = BUCKETS - 1

# 100 µs is a healthy connect on a local network, 1 s the first retransmission of a SYN.
cdef uint32_t FAST_US[BOUNDS]
FAST_US[:] = [100, 250, 500, 1000, 2500, 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000,
              2500000, 10000000]
# From one exchange to sessions that stay for an hour.
cdef uint32_t SLOW_US[BOUNDS]
SLOW_US[:] = [1000, 5000, 10000, 50000, 100000, 500000, 1000000, 5000000, 10000000, 30000000, 60000000,
              300000000, 600000000, 1800000000, 3600000000]
fast_bounds_us = FAST_US
slow_bounds_us = SLOW_US

FAST_BOUNDS_S = tuple([FAST_US[i] / 1e6 for i in range(BOUNDS)])
SLOW_BOUNDS_S = tuple([SLOW_US[i] / 1e6 for i in range(BOUNDS)])
FAILURE_NAMES = ("refused", "timeout", "unreachable", "reset", "local", "early_reset", "silent")
WOULD_REFUSE_NAMES = ("refused_acl", "refused_rate", "refused_limit")
REASON_NAMES = (
    "done", "client_reset", "endpoint_reset", "client_vanished", "endpoint_vanished", "connect_failed",
    "no_endpoint", "refused_acl", "refused_rate", "refused_limit", "queue_timeout", "bad_proxy_header",
    "routing_timeout", "idle_timeout", "half_close_timeout", "lifetime", "drained", "endpoint_down",
    "operator", "shutdown", "lb_error", "worker_lost",
)
BOUNDS_MAX = {
    "workers": WORKERS_MAX, "endpoints": ENDPOINTS_MAX, "listeners": LISTENERS_MAX, "pools": POOLS_MAX,
}


# ---- Layout -----------------------------------------------------------------------------------------

cdef uint64_t paged(uint64_t size) noexcept nogil:
    return (size + PAGE - 1) & ~<uint64_t>(PAGE - 1)


cdef uint64_t lay_out(board_t* board, char* base, uint32_t workers) noexcept nogil:
    """Points every part into the block at `base` and returns the size of all."""
    cdef uint64_t at = PAGE
    board.header = <board_header_t*>base
    board.count = workers
    board.workers = <worker_cell_t*>(base + at)
    at = paged(at + WORKERS_MAX * sizeof(worker_cell_t))
    board.cursors = <uint64_t*>(base + at)
    at = paged(at + POOLS_MAX * 64)
    board.rates = <uint64_t*>(base + at)
    at = paged(at + LISTENERS_MAX * 64)
    board.source_rates = <source_rate_t*>(base + at)
    at = paged(at + SOURCES_MAX * sizeof(source_rate_t))
    board.failed_in_row = <uint32_t*>(base + at)
    at = paged(at + ENDPOINTS_MAX * sizeof(uint32_t))
    board.listener_open = <uint32_t*>(base + at)
    at = paged(at + <uint64_t>workers * LISTENERS_MAX * sizeof(uint32_t))
    board.endpoint_open = <uint32_t*>(base + at)
    at = paged(at + <uint64_t>workers * ENDPOINTS_MAX * sizeof(uint32_t))
    board.pools = <pool_cell_t*>(base + at)
    at = paged(at + <uint64_t>workers * POOLS_MAX * sizeof(pool_cell_t))
    board.sources = <source_cell_t*>(base + at)
    at = paged(at + <uint64_t>workers * SOURCES_MAX * sizeof(source_cell_t))
    board.listeners = <listener_cell_t*>(base + at)
    at = paged(at + <uint64_t>workers * LISTENERS_MAX * sizeof(listener_cell_t))
    board.endpoints = <endpoint_cell_t*>(base + at)
    return paged(at + <uint64_t>workers * ENDPOINTS_MAX * sizeof(endpoint_cell_t))


cdef uint64_t board_size(uint32_t workers) noexcept nogil:
    cdef board_t board
    return lay_out(&board, NULL, workers)


cdef int map_board(int fd, board_t* board) noexcept nogil:
    """0, or -1 when the block is not one of this version's."""
    cdef stat_t found
    cdef board_header_t* header
    if fstat(fd, &found) == -1 or found.st_size < PAGE:
        return -1
    header = <board_header_t*>mmap(NULL, found.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
    if header == <board_header_t*>MAP_FAILED:
        return -1
    if (header.magic != MAGIC or header.layout != LAYOUT or header.workers < 1
            or header.workers > WORKERS_MAX or header.size != <uint64_t>found.st_size
            or header.size != board_size(header.workers)):
        munmap(header, found.st_size)
        return -1
    lay_out(board, <char*>header, header.workers)
    return 0


cdef void unmap_board(board_t* board) noexcept nogil:
    if board.header != NULL:
        munmap(board.header, board.header.size)
    memset(board, 0, sizeof(board_t))


cdef void observe(histogram_t* histogram, const uint32_t* bounds_us, uint64_t value_us) noexcept nogil:
    cdef int i
    histogram.sum_us += value_us
    for i in range(BOUNDS):
        if value_us <= bounds_us[i]:
            histogram.counts[i] += 1
            return
    histogram.counts[BOUNDS] += 1


# ---- The supervisor's side --------------------------------------------------------------------------

cdef class BoardMap:
    """The mapped scoreboard; counts come out as plain tuples and dicts, summed over the workers."""

    cdef board_t board
    cdef readonly int fd

    def __cinit__(self, uint32_t workers):
        cdef board_header_t header
        if not 1 <= workers <= WORKERS_MAX:
            raise ValueError(f"{workers} workers; 1 to {WORKERS_MAX} are possible")
        memset(&header, 0, sizeof(header))
        header.magic, header.layout, header.workers = MAGIC, LAYOUT, workers
        header.size = board_size(workers)
        header.key[0], header.key[1] = struct.unpack("QQ", os.urandom(16))
        self.fd = os.memfd_create("lb-scoreboard", os.MFD_CLOEXEC)
        os.ftruncate(self.fd, header.size)
        os.pwrite(self.fd, (<char*>&header)[:sizeof(header)], 0)
        if map_board(self.fd, &self.board) == -1:
            raise MemoryError("the scoreboard could not be mapped")

    def __dealloc__(self):
        unmap_board(&self.board)

    def open_by_endpoint(self) -> dict:
        cdef uint32_t i, open
        found = {}
        for i in range(self.board.header.endpoints_high):
            open = endpoint_open(&self.board, i)
            if open:
                found[i] = open
        return found

    def open_by_listener(self) -> dict:
        cdef uint32_t i, open
        found = {}
        for i in range(self.board.header.listeners_high):
            open = listener_open(&self.board, i)
            if open:
                found[i] = open
        return found

    def endpoint(self, uint32_t number) -> tuple:
        """open, total, bytes in and out, failures, (connect counts, sum_us), (first-byte counts, sum_us)."""
        cdef endpoint_cell_t* cell
        cdef endpoint_cell_t total
        cdef uint32_t worker
        cdef int i
        check(number, ENDPOINTS_MAX)
        memset(&total, 0, sizeof(total))
        for worker in range(self.board.count):
            cell = &self.board.endpoints[<size_t>worker * ENDPOINTS_MAX + number]
            total.sessions_total += cell.sessions_total
            total.bytes_in += cell.bytes_in
            total.bytes_out += cell.bytes_out
            for i in range(FAILURES):
                total.failures[i] += cell.failures[i]
            add(&total.connect, &cell.connect)
            add(&total.first_byte, &cell.first_byte)
        failures = [total.failures[i] for i in range(FAILURES)]
        return (endpoint_open(&self.board, number), total.sessions_total, total.bytes_in, total.bytes_out,
                failures, plain(&total.connect), plain(&total.first_byte))

    def listener(self, uint32_t number) -> tuple:
        """open, total, closed by reason, would-be refusals, untracked, paced, (session counts, sum_us)."""
        cdef listener_cell_t* cell
        cdef listener_cell_t total
        cdef uint32_t worker
        cdef int i
        check(number, LISTENERS_MAX)
        memset(&total, 0, sizeof(total))
        for worker in range(self.board.count):
            cell = &self.board.listeners[<size_t>worker * LISTENERS_MAX + number]
            total.sessions_total += cell.sessions_total
            for i in range(REASONS):
                total.closed[i] += cell.closed[i]
            for i in range(WOULD_REFUSE):
                total.would_refuse[i] += cell.would_refuse[i]
            total.sources_untracked += cell.sources_untracked
            total.paced_total += cell.paced_total
            add(&total.session, &cell.session)
        closed = [total.closed[i] for i in range(REASONS)]
        would_refuse = [total.would_refuse[i] for i in range(WOULD_REFUSE)]
        return (listener_open(&self.board, number), total.sessions_total, closed, would_refuse,
                total.sources_untracked, total.paced_total, plain(&total.session))

    def pool(self, uint32_t number) -> tuple:
        """open, queued, queued_total, retries_total, retries_refused_total."""
        cdef pool_cell_t* cell
        cdef pool_cell_t total
        cdef uint32_t worker
        check(number, POOLS_MAX)
        memset(&total, 0, sizeof(total))
        for worker in range(self.board.count):
            cell = &self.board.pools[<size_t>worker * POOLS_MAX + number]
            total.sessions_open += cell.sessions_open
            total.queued += cell.queued
            total.queued_total += cell.queued_total
            total.retries_total += cell.retries_total
            total.retries_refused_total += cell.retries_refused_total
        return (total.sessions_open, total.queued, total.queued_total, total.retries_total,
                total.retries_refused_total)

    def worker(self, uint32_t index) -> tuple:
        """open, paused, dropped, sampled out, starved, heartbeat_ns, steps, (lag counts, sum_us)."""
        cdef worker_cell_t* cell
        check(index, self.board.count)
        cell = &self.board.workers[index]
        return (cell.sessions_open, cell.accept_paused_total, cell.access_dropped_total,
                cell.access_sampled_out_total, cell.starved_total, cell.heartbeat_ns, cell.steps_total,
                plain(&cell.lag))

    def forget_worker(self, uint32_t index) -> None:
        """A dead worker's gauges go to 0, and the sessions that it had count as closed; its counters stay,
        and its successor counts on."""
        cdef uint32_t i
        cdef size_t at
        check(index, self.board.count)
        self.board.workers[index].sessions_open = 0
        self.board.workers[index].heartbeat_ns = 0
        for i in range(self.board.header.endpoints_high):
            self.board.endpoint_open[<size_t>index * ENDPOINTS_MAX + i] = 0
        for i in range(self.board.header.listeners_high):
            at = <size_t>index * LISTENERS_MAX + i
            self.board.listeners[at].closed[REASON_WORKER_LOST] += self.board.listener_open[at]
            self.board.listener_open[at] = 0
        for i in range(self.board.header.pools_high):
            self.board.pools[<size_t>index * POOLS_MAX + i].sessions_open = 0
            self.board.pools[<size_t>index * POOLS_MAX + i].queued = 0
            self.board.pools[<size_t>index * POOLS_MAX + i].queue_head = 0
        # Pages that were never touched stay so: what is given back reads as zeros.
        madvise(&self.board.sources[<size_t>index * SOURCES_MAX], SOURCES_MAX * sizeof(source_cell_t),
                MADV_REMOVE)

    def forget_endpoint(self, uint32_t number) -> None:
        """All counts of an id to 0, before another endpoint gets it. No worker uses it any more."""
        cdef uint32_t worker
        check(number, ENDPOINTS_MAX)
        self.board.failed_in_row[number] = 0
        for worker in range(self.board.count):
            self.board.endpoint_open[<size_t>worker * ENDPOINTS_MAX + number] = 0
            memset(&self.board.endpoints[<size_t>worker * ENDPOINTS_MAX + number], 0, sizeof(endpoint_cell_t))

    def forget_listener(self, uint32_t number) -> None:
        cdef uint32_t worker
        check(number, LISTENERS_MAX)
        for worker in range(self.board.count):
            self.board.listener_open[<size_t>worker * LISTENERS_MAX + number] = 0
            memset(&self.board.listeners[<size_t>worker * LISTENERS_MAX + number], 0, sizeof(listener_cell_t))
        self.board.rates[number * 8] = 0

    def forget_pool(self, uint32_t number) -> None:
        cdef uint32_t worker
        check(number, POOLS_MAX)
        for worker in range(self.board.count):
            memset(&self.board.pools[<size_t>worker * POOLS_MAX + number], 0, sizeof(pool_cell_t))


cdef int check(uint32_t number, uint32_t count) except -1:
    if number >= count:
        raise IndexError(f"{number} is not below {count}")
    return 0


cdef void add(histogram_t* total, const histogram_t* one) noexcept nogil:
    cdef int i
    total.sum_us += one.sum_us
    for i in range(BUCKETS):
        total.counts[i] += one.counts[i]


cdef tuple plain(const histogram_t* histogram):
    cdef int i
    return tuple([histogram.counts[i] for i in range(BUCKETS)]), histogram.sum_us
