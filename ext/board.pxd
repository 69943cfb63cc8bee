# cython: language_level=3
"""The scoreboard: one block of shared memory with what every worker counts. This file is its layout.

One writer per cell: a worker writes only its own column, so there are no locks and plain stores do; readers
sum over the columns. `endpoint_open` and `listener_open` keep the columns of one id side by side, for a pick
reads them all. The one exception is a pool's cursor, which all workers count up atomically.

Pages are touched as needed: the block is as large as its bounds allow and costs what is used of it.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    WORKERS_MAX = 64
    ENDPOINTS_MAX = 16384
    LISTENERS_MAX = 1024
    POOLS_MAX = 4096
    BUCKETS = 16                # of a histogram; the last is everything above

# Why a connection to an endpoint failed. LOCAL is ours (no port, no descriptor, no memory): the endpoint is
# never charged with it.
cdef enum:
    FAILED_REFUSED
    FAILED_TIMEOUT
    FAILED_UNREACHABLE
    FAILED_RESET
    FAILED_LOCAL
    FAILURES

# How a session ended, in the order of lb.model.cause.Reason.
cdef enum:
    REASON_DONE
    REASON_CLIENT_RESET
    REASON_ENDPOINT_RESET
    REASON_CONNECT_FAILED
    REASON_NO_ENDPOINT
    REASON_REFUSED_LIMIT
    REASON_IDLE_TIMEOUT
    REASON_HALF_CLOSE_TIMEOUT
    REASON_DRAINED
    REASON_ENDPOINT_DOWN
    REASON_OPERATOR
    REASON_SHUTDOWN
    REASON_LB_ERROR
    REASONS

cdef struct histogram_t:
    uint64_t counts[BUCKETS]    # each for itself, not cumulative
    uint64_t sum_us

cdef struct endpoint_cell_t:
    uint64_t sessions_total     # connected ones
    uint64_t bytes_in           # from the client
    uint64_t bytes_out          # to the client
    uint64_t failures[FAILURES]
    histogram_t connect
    histogram_t first_byte

cdef struct listener_cell_t:
    uint64_t sessions_total     # accepted ones
    uint64_t closed[REASONS]
    histogram_t session

cdef struct worker_cell_t:
    uint64_t heartbeat_ns       # CLOCK_MONOTONIC of the last sign of life
    uint64_t sessions_open
    uint64_t accept_paused_total
    uint64_t access_dropped_total
    uint64_t steps_total
    histogram_t lag             # how late the worker's loop turned
    uint64_t unused[3]

cdef struct board_header_t:
    uint64_t magic
    uint32_t layout
    uint32_t workers
    uint32_t endpoints_high     # above the highest id that was ever published: where a reader may stop
    uint32_t listeners_high
    uint64_t size

cdef struct board_t:
    # A mapped scoreboard. `base` belongs to whoever mapped it.
    board_header_t* header
    worker_cell_t* workers      # [worker]
    uint64_t* cursors           # [pool * 8]: a cache line each
    uint32_t* endpoint_open     # [endpoint * WORKERS_MAX + worker]
    uint32_t* listener_open     # [listener * WORKERS_MAX + worker]
    endpoint_cell_t* endpoints  # [worker * ENDPOINTS_MAX + endpoint]
    listener_cell_t* listeners  # [worker * LISTENERS_MAX + listener]
    uint32_t count              # of workers

cdef uint64_t board_size(uint32_t workers) noexcept nogil
cdef int map_board(int fd, board_t* board) noexcept nogil
cdef void unmap_board(board_t* board) noexcept nogil


cdef inline uint32_t endpoint_open(const board_t* b, uint32_t endpoint) noexcept nogil:
    """Sessions to an endpoint over all workers, those being connected included."""
    cdef const uint32_t* columns = b.endpoint_open + <size_t>endpoint * WORKERS_MAX
    cdef uint32_t i, total = 0
    for i in range(b.count):
        total += columns[i]
    return total


cdef inline uint32_t listener_open(const board_t* b, uint32_t listener) noexcept nogil:
    cdef const uint32_t* columns = b.listener_open + <size_t>listener * WORKERS_MAX
    cdef uint32_t i, total = 0
    for i in range(b.count):
        total += columns[i]
    return total


cdef inline uint64_t sessions_open(const board_t* b) noexcept nogil:
    cdef uint32_t i
    cdef uint64_t total = 0
    for i in range(b.count):
        total += b.workers[i].sessions_open
    return total

cdef void observe(histogram_t* histogram, const uint32_t* bounds_us, uint64_t value_us) noexcept nogil
cdef const uint32_t* fast_bounds_us     # connects, first bytes, lag
cdef const uint32_t* slow_bounds_us     # the lives of sessions
