# cython: language_level=3
"""What the data path of one worker owns. All of it belongs to the engine and dies with it.

A session is a slot; a slot has two sides, client and upstream, each one socket. Bytes that a side refused
are kept with that side: in a block (copied) or in a pipe (spliced), never in both. What few sessions have (a
PROXY header's addresses, a server name) is in details, so that a slot stays small. Links between slots are
slot numbers, NONE for none.
"""
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from lb._ext.board cimport (
    board_t, endpoint_cell_t, listener_cell_t, pool_cell_t, source_cell_t, worker_cell_t,
)
from lb._ext.linux cimport address_t, epoll_event
from lb._ext.ring cimport ring_t
from lb._ext.table cimport ATTEMPTS_MAX, table_t

cdef enum:
    NONE = 0xFFFFFFFF
    SESSIONS_MAX = 1 << 20      # per worker: 256 MiB of address space, touched as needed
    BLOCK_BYTES = 16384         # one read; HAProxy's and nginx's buffer
    PIPE_BYTES = 262144
    EVENTS_MAX = 64             # per epoll_wait: with 30 µs for each, a batch is 2 ms
    ACCEPTS_MAX = 16            # per listener and wake-up
    TURN_BYTES = 262144         # per session and turn, then others are served
    STEP_BYTES = 1 << 20        # per batch of events, and per round of the ready list: some 300 µs each
    LISTENINGS_MAX = 65536      # listening sockets of one worker, which may stand in for all others
    NAME_BYTES_MAX = 255        # of a server name: RFC 1035

# ---- One side of a session --------------------------------------------------------------------------

cdef enum:
    READABLE = 1                # reading has not said EAGAIN since the last edge
    ENDED = 2                   # its end of stream has arrived (RDHUP), behind what is still to be read
    FAILED = 4                  # it has an error (ERR), behind what is still to be read
    FINISHED = 8                # its end of stream was read
    SHUT = 16                   # the other's end of stream was passed on to it
    BROKEN = 32                 # it was reset: nothing more can be sent to it
    URGENT = 64                 # urgent data: a short read does not mean that all was read
    STREAM = 128                # splice, rather than copy, what comes from it
    UNSURE = 256                # a unix socket: a short read does not mean that all was read
    VANISHED = 512              # its peer answers no more: its connection timed out
    LEAN = 1024                 # what its kernel keeps unsent is bounded
    TRUSTED = 2048              # it has taken that much quickly: it is not

cdef struct block_t:
    block_t* next               # in the free list
    char data[BLOCK_BYTES]

cdef struct pipe_t:
    pipe_t* next                # in the free list
    int32_t out                 # where it is read
    int32_t into                # where it is written
    uint64_t size               # bytes in it

cdef struct side_t:
    int32_t fd                  # -1: none
    uint16_t flags
    uint8_t full_reads          # in a row: several make a stream
    uint8_t small_splices       # in a row: several end it
    uint32_t kept_size          # bytes of the block that this side has yet to take
    uint32_t kept_from
    block_t* kept               # owned; NULL: none
    pipe_t* pipe                # owned; NULL: none

# ---- What few sessions have -------------------------------------------------------------------------

cdef struct details_t:
    details_t* next             # in the free list
    address_t peer              # who connected, where a PROXY header named another client; family 0: nobody
    address_t destination       # where that client had connected to; family 0: not known
    uint8_t name_size
    char name[NAME_BYTES_MAX]   # the server name of its ClientHello, or of the header

cdef struct opening_t:
    # What is handed on to the endpoint. Lies in a block, which is given back once that was done.
    uint32_t alpn_size
    uint32_t unique_id_size
    char alpn[256]
    char unique_id[128]

# ---- A session --------------------------------------------------------------------------------------

cdef enum:
    FREE
    OPENING                     # what the client says first is awaited: a PROXY header, a ClientHello
    QUEUED                      # every endpoint is full; it waits for room, in its pool's queue
    STARVED                     # it waits for a descriptor, a port or memory of ours, and is tried again
    CONNECTING                  # an upstream socket is being connected
    RELAYING
    LINGERING                   # one side is gone; the other is closed once it acknowledged what it was sent

cdef enum:
    OPEN_DOUBTED = 128          # beside a listener's OPEN_...: its first bytes must not be a PROXY header

cdef enum:
    BY_CLIENT
    BY_ENDPOINT
    BY_LB

cdef enum:
    MARK_LISTENING = 0xFFFFFFFF  # in the upper half of an event's data, where sessions have a generation
    MARK_TIMER = 0xFFFFFFFE
    MARK_CALL = 0xFFFFFFFD

cdef enum:
    CLIENT = 0
    UPSTREAM = 1

cdef struct session_t:
    uint32_t index
    uint32_t generation         # counts the users of the slot
    side_t side[2]
    uint8_t state
    uint8_t reason
    uint8_t closer
    uint8_t attempts            # made so far
    uint8_t results[ATTEMPTS_MAX]
    uint32_t tried[ATTEMPTS_MAX]  # endpoint ids, in order
    uint8_t linger_side
    uint8_t linger_reset        # end it by a reset, rather than orderly
    uint8_t ready               # it is on the ready list
    uint8_t acknowledges_late   # the handshake's last acknowledgement rides on the first bytes
    uint8_t settled             # deadlines.pyx: whether what a long life needs was done
    uint8_t counted             # among the endpoint's and the pool's open ones
    uint8_t opens               # OPEN_..., still to be read or looked at
    uint8_t retrying            # counted in its pool's retries_t
    uint8_t hashed              # `hash` is known
    uint8_t introduction        # version of the PROXY header that the endpoint gets; 0: none
    uint8_t pacing              # PACES_... and PACE_WAITS_... of each direction
    uint8_t starved             # counted in starved_total
    uint8_t silent              # noted: no first byte came in time
    uint8_t had_turn            # it had an attempt: in no queue does it wait behind those that had none
    uint32_t next_ready
    uint32_t queue_next
    uint32_t queue_prev
    uint32_t source             # its cell among this worker's sources; NONE: not counted there
    uint32_t pool               # id; in whose counts and queue it is
    uint32_t listener           # ids
    uint32_t endpoint           # NONE: none was connected, none is being connected
    uint32_t idle_ms
    uint32_t half_close_ms
    uint32_t reset_linger_ms
    uint32_t linger_wait_ms
    uint32_t wheel_next
    uint32_t wheel_prev
    uint32_t wheel_place        # NONE: not in the wheel
    uint64_t deadline_ms        # for which it is in the wheel
    uint64_t active_ms          # when bytes last moved
    uint64_t linger_until_ms
    uint64_t age_until_ms       # 0: no bound
    uint64_t paced_ns[2]        # by source side: when its token bucket is full again
    uint32_t suspect_ms[2]      # by side: since when its peer may have vanished (the low half); 0: not
    uint32_t look_ms            # when its peers are looked at next (the low half)
    uint32_t proven_ms          # when both had acknowledged everything (the low half); 0: not when looked at
    uint64_t hash               # of the client, for hashing policies
    uint64_t ticket             # in its pool's queue, of one that had no turn yet
    uint64_t queued_ns          # spent waiting for room; while QUEUED: since when, all of it in one
    details_t* details          # owned; NULL: none
    block_t* opening            # owned, an opening_t; NULL: none
    uint64_t accepted_ns
    uint64_t connect_from_ns    # of the present attempt
    uint64_t connected_ns       # 0: not yet
    uint64_t first_byte_ns      # 0: not yet
    uint64_t bytes_in
    uint64_t bytes_out
    address_t client            # as accept() gave it, or as a PROXY header says
    address_t local             # these two are asked for when a record needs them; family 0: not known
    address_t upstream

# ---- The wheel --------------------------------------------------------------------------------------

cdef enum:
    WHEEL_LEVELS = 5            # 64^5 ms is 12 days; what is later is looked at again then
    WHEEL_SLOTS = 64
    WHEEL_DUE = WHEEL_LEVELS * WHEEL_SLOTS

cdef struct wheel_t:
    uint64_t now_ms
    uint64_t armed_ms           # when the timer will fire; UINT64_MAX: it is off
    uint64_t filled[WHEEL_LEVELS]
    uint32_t heads[WHEEL_LEVELS * WHEEL_SLOTS + 1]  # the last: those that are due
    uint32_t due_last           # who is due is served in order, so that everybody has his turn

# ---- The engine -------------------------------------------------------------------------------------

cdef struct listening_t:
    int32_t fd                  # owned; -1: a free place
    uint32_t listener           # id
    uint8_t paused              # out of the epoll set, for want of room or of a token
    uint64_t token_ns           # of rate_max, held for the next client: when it is due; 0: none is held

cdef struct retries_t:
    # Sessions that are on a further attempt now, after one that hung.
    uint32_t open
    uint32_t fresh              # of those, the ones that began in fresh_ms
    uint64_t fresh_ms

cdef struct engine_t:
    int32_t epfd
    int32_t timer_fd
    uint32_t worker
    uint64_t now_ns             # read once per batch
    uint64_t now_ms
    table_t table
    board_t board
    worker_cell_t* cell         # this worker's cells
    endpoint_cell_t* endpoints
    listener_cell_t* listeners
    pool_cell_t* pools
    source_cell_t* sources
    uint32_t* open              # [endpoint]: this worker's column
    uint32_t* listener_open     # [listener]: likewise
    ring_t* ring                # NULL: no access log
    wheel_t wheel
    # slots
    session_t* slots            # reserved for slots_max, touched up to slots_high
    uint32_t slots_max
    uint32_t slots_high
    uint32_t slots_free         # head of a list through next_ready
    uint32_t slots_used
    uint64_t sessions_max_all   # over all workers; 0: no such limit
    # ready list: sessions that a limit stopped though they could go on
    uint32_t ready_first
    uint32_t ready_last
    # queues: sessions that wait for room, by pool, oldest first
    uint32_t* queue_first       # [pool]; owned. Those that had their turn come first, then the fresh ones
    uint32_t* queue_fresh       # [pool]: the first of these; owned
    uint32_t* queue_last        # [pool]; owned
    uint32_t queued_count       # in all of them
    uint64_t queues_due_ms      # when they are looked at next, for room that other workers made
    retries_t* retrying         # [pool]; owned
    uint32_t* starved           # [listener]: STARVED sessions; owned
    uint32_t starved_count      # in all of them
    # blocks, pipes, details
    block_t* blocks_free
    pipe_t* pipes_free
    details_t* details_free
    uint32_t details_made
    uint32_t details_used
    uint32_t blocks_made
    uint32_t blocks_used
    uint32_t pipes_made
    uint32_t pipes_used
    uint32_t pipes_max
    uint32_t descriptors_open   # of sessions
    uint32_t deadlines_set      # entries of the wheel
    # accepting
    listening_t listenings[LISTENINGS_MAX]
    uint32_t listenings_high
    uint32_t paused_count
    uint64_t resume_ms          # when paused ones are tried again
    uint32_t resume_next        # the place that is first then
    bint room_made              # a session ended since they were last tried
    # failures to tell the supervisor of: counts by endpoint and kind, and which endpoints have any
    uint32_t* failures          # [endpoint * FAILURES + kind]; owned
    uint32_t* in_row            # [endpoint]: the most failures in a row, with those of other workers; owned
    uint32_t* failed            # endpoint ids; owned
    uint32_t failed_count
    uint8_t failures_told       # serve() has returned for them
    uint32_t random
    uint8_t called              # the worker's own loop has something to do
    uint32_t* source_turns      # [pool]: which of its hosts is connected from next; owned
    # sampling of the access log
    uint64_t log_second
    uint32_t log_count          # lines of this second, written or not
    uint32_t log_before         # of the second before
    uint32_t log_written        # of this second
    uint32_t log_left_out       # since the last that was written
    uint32_t full_batches       # in a row: more events may be waiting
    uint32_t waits              # that could have slept
    uint32_t look_credit        # 0: looking again before sleeping does not pay now
    uint64_t moved_bytes        # sent to any side, ever
    uint64_t moved_until        # then whoever has an event waits on the ready list for the next step
    epoll_event events[EVENTS_MAX]
    char buffer[BLOCK_BYTES]
