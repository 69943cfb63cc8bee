# cython: language_level=3
"""The scoreboard: one block of shared memory with what every worker counts. This file is its layout.

One writer per cell: a worker writes only its own column, so there are no locks and plain stores do; readers
sum over the columns. The exceptions are shared and atomic: a pool's cursor and its queue's tickets, the token
buckets of listeners and sources (a time each, moved by compare and swap), and how often an endpoint failed in
a row. A worker that dies in the middle of one leaves nothing to take back.

Pages are touched as needed: the block is as large as its bounds allow and costs what is used of it.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef enum:
    WORKERS_MAX = 64
    ENDPOINTS_MAX = 16384
    LISTENERS_MAX = 1024
    POOLS_MAX = 4096
    SOURCE_WAYS = 16            # cells that a source may be in; a look-up reads them all
    SOURCES_MAX = 131072        # per worker for open sessions, and of all for rates
    BUCKETS = 16                # of a histogram; the last is everything above

# Why a connection to an endpoint failed. LOCAL is ours (no port, no descriptor, no memory): the endpoint is
# never charged with it. EARLY_RESET and SILENT are of connections that stood: reset before its first byte,
# and no first byte within the pool's first_byte_timeout.
cdef enum:
    FAILED_REFUSED
    FAILED_TIMEOUT
    FAILED_UNREACHABLE
    FAILED_RESET
    FAILED_LOCAL
    FAILED_EARLY_RESET
    FAILED_SILENT
    FAILURES

# What a dry run would have refused, by the reason it would have given.
cdef enum:
    WOULD_REFUSE_ACL
    WOULD_REFUSE_RATE
    WOULD_REFUSE_LIMIT
    WOULD_REFUSE

# How a session ended, in the order of lb.model.cause.Reason.
cdef enum:
    REASON_DONE
    REASON_CLIENT_RESET
    REASON_ENDPOINT_RESET
    REASON_CLIENT_VANISHED
    REASON_ENDPOINT_VANISHED
    REASON_CONNECT_FAILED
    REASON_NO_ENDPOINT
    REASON_REFUSED_ACL
    REASON_REFUSED_RATE
    REASON_REFUSED_LIMIT
    REASON_QUEUE_TIMEOUT
    REASON_BAD_PROXY_HEADER
    REASON_ROUTING_TIMEOUT
    REASON_IDLE_TIMEOUT
    REASON_HALF_CLOSE_TIMEOUT
    REASON_LIFETIME
    REASON_DRAINED
    REASON_ENDPOINT_DOWN
    REASON_OPERATOR
    REASON_SHUTDOWN
    REASON_LB_ERROR
    REASON_WORKER_LOST
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
    double cost_ns              # peak EWMA of this worker's connects and first bytes
    uint64_t cost_at_ns         # when that was so; 0: never

cdef struct listener_cell_t:
    uint64_t sessions_total     # accepted ones
    uint64_t closed[REASONS]
    uint64_t would_refuse[WOULD_REFUSE]
    uint64_t sources_untracked  # no cell was left: let in without a look at the limits of its source
    uint64_t paced_total        # how often accepting waited for a token of rate_max
    histogram_t session

cdef struct pool_cell_t:
    uint64_t queue_head         # the ticket of the first that waits here; 0: none does
    uint32_t queued             # sessions that wait for room
    uint32_t sessions_open      # to any of its endpoints, those being connected included
    uint64_t queued_total
    uint64_t retries_total
    uint64_t retries_refused_total  # by the retry budget
    uint64_t queue_seen_ns      # when the queue was last looked at; long past: that worker is stopped
    uint64_t unused[2]

cdef struct source_cell_t:
    uint64_t key                # of listener and source; 0: free
    uint64_t open               # 0: the cell may be another's

cdef struct source_rate_t:
    uint64_t key
    uint64_t full_ns            # when its token bucket is full again; long past: the cell may be another's

cdef struct worker_cell_t:
    uint64_t heartbeat_ns       # CLOCK_MONOTONIC of the last sign of life
    uint64_t sessions_open
    uint64_t accept_paused_total
    uint64_t access_dropped_total
    uint64_t access_sampled_out_total
    uint64_t starved_total      # sessions that had to wait for a descriptor, a port or memory of ours
    uint64_t steps_total
    histogram_t lag             # how late the worker's loop turned
    uint64_t unused[3]

cdef struct board_header_t:
    uint64_t magic
    uint32_t layout
    uint32_t workers
    uint32_t endpoints_high     # above the highest id that was ever published: where a reader may stop
    uint32_t listeners_high
    uint32_t pools_high
    uint32_t unused
    uint64_t size
    uint64_t key[2]             # of hashes: a secret, so that nobody can choose what falls together

cdef struct board_t:
    # A mapped scoreboard. `base` belongs to whoever mapped it.
    board_header_t* header
    worker_cell_t* workers      # [worker]
    uint64_t* cursors           # [pool * 8]: a cache line each; the next word is the queue's last ticket
    uint64_t* rates             # [listener * 8]: when its token bucket is full again
    source_rate_t* source_rates  # [SOURCES_MAX]
    uint32_t* failed_in_row     # [endpoint]: since its last first byte, over all workers
    uint32_t* endpoint_open     # [worker * ENDPOINTS_MAX + endpoint]
    uint32_t* listener_open     # [worker * LISTENERS_MAX + listener]
    endpoint_cell_t* endpoints  # [worker * ENDPOINTS_MAX + endpoint]
    listener_cell_t* listeners  # [worker * LISTENERS_MAX + listener]
    pool_cell_t* pools          # [worker * POOLS_MAX + pool]
    source_cell_t* sources      # [worker * SOURCES_MAX + cell]
    uint32_t count              # of workers

cdef uint64_t board_size(uint32_t workers) noexcept nogil
cdef int map_board(int fd, board_t* board) noexcept nogil
cdef void unmap_board(board_t* board) noexcept nogil


cdef inline uint32_t endpoint_open(const board_t* b, uint32_t endpoint) noexcept nogil:
    """Sessions to an endpoint over all workers, those being connected included."""
    cdef uint32_t i, total = 0
    for i in range(b.count):
        total += b.endpoint_open[<size_t>i * ENDPOINTS_MAX + endpoint]
    return total


cdef inline uint32_t listener_open(const board_t* b, uint32_t listener) noexcept nogil:
    cdef uint32_t i, total = 0
    for i in range(b.count):
        total += b.listener_open[<size_t>i * LISTENERS_MAX + listener]
    return total


cdef inline uint32_t pool_open(const board_t* b, uint32_t pool) noexcept nogil:
    cdef uint32_t i, total = 0
    for i in range(b.count):
        total += b.pools[<size_t>i * POOLS_MAX + pool].sessions_open
    return total


cdef inline uint32_t pool_queued(const board_t* b, uint32_t pool) noexcept nogil:
    cdef uint32_t i, total = 0
    for i in range(b.count):
        total += b.pools[<size_t>i * POOLS_MAX + pool].queued
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
