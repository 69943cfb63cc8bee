# cython: language_level=3
"""The snapshot as workers see it: one flat, sealed, read-only block. This file is its layout.

Offsets are bytes from the start. `endpoints`, `pools` and `listeners` are indexed by stable id; a line whose
`present` is 0 is a free id. `eligible`, `schedule` and `hash` of a pool are runs of endpoint ids in `ids`.
Strings need no escaping in JSON: the compiler refuses others.

A table belongs to whoever mapped it, until unmap(). Sessions keep ids, never pointers into it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from lb._ext.linux cimport address_t, place_t

cdef enum:
    LAYOUT = 4                  # of snapshot, scoreboard and ring together
    ATTEMPTS_MAX = 8            # a slot remembers this many
    TEXT_BYTES_MAX = 128        # of a name or an address: a record has room for all of a session's

cdef enum:
    POLICY_ROUND_ROBIN
    POLICY_LEAST_CONNECTIONS
    POLICY_POWER_OF_TWO
    POLICY_PEAK_EWMA
    POLICY_RANDOM
    POLICY_SOURCE_HASH
    POLICY_MAGLEV

cdef enum:
    HASH_SOURCE_IP
    HASH_SOURCE_IP_PORT
    HASH_SNI

cdef enum:
    REFUSE_BY_RESET
    REFUSE_BY_CLOSE
    REFUSE_BY_SILENCE

cdef enum:                      # what is read of a client before an endpoint is picked, or'ed
    OPEN_PROXY = 1              # a PROXY header, from those in `proxied_from`
    OPEN_HELLO = 2              # a TLS ClientHello, peeked

cdef enum:                      # what admission must look at, or'ed; 0: everybody is let in
    GATE_NETWORKS = 1
    GATE_RATE = 2
    GATE_SOURCE_SESSIONS = 4
    GATE_SOURCE_RATE = 8

cdef struct text_t:
    uint32_t offset
    uint32_t size

cdef struct header_t:
    uint64_t magic
    uint32_t layout
    uint32_t size               # of the whole block, bytes
    uint64_t generation
    uint32_t listeners_count
    uint32_t pools_count
    uint32_t endpoints_count
    uint32_t ids_count
    uint32_t ranges4_count
    uint32_t ranges6_count
    uint32_t hosts_count
    uint32_t listeners_offset
    uint32_t pools_offset
    uint32_t endpoints_offset
    uint32_t ids_offset
    uint32_t ranges4_offset
    uint32_t ranges6_offset
    uint32_t hosts_offset
    uint32_t text_offset
    uint32_t text_size
    uint32_t access_rate_max    # lines per second over all workers; 0: no bound

cdef struct range4_t:           # both ends belong to it; in the order of the machine
    uint32_t first
    uint32_t last

cdef struct range6_t:
    uint64_t first_high
    uint64_t first_low
    uint64_t last_high
    uint64_t last_low

cdef struct networks_t:
    # Runs of ranges4 and ranges6, each sorted, disjoint and not touching.
    uint32_t given              # 0: there is no such list
    uint32_t unix_peers
    uint32_t v4_first
    uint32_t v4_count
    uint32_t v6_first
    uint32_t v6_count

cdef struct listener_t:
    text_t name
    uint32_t present
    uint32_t pool               # id
    uint32_t sessions_max       # 0: no limit of its own
    uint32_t idle_ms            # 0: for ever
    uint32_t half_close_ms      # 0: the session ends with its first end of stream
    uint32_t reset_linger_ms
    uint32_t keepalive_idle_s   # 0: off
    uint32_t keepalive_interval_s
    uint32_t keepalive_count
    uint32_t routing_ms
    uint32_t age_max_ms         # 0: none
    uint32_t user_timeout_ms    # 0: off
    uint32_t opens              # OPEN_...
    uint32_t gates              # GATE_...
    uint32_t dry_run
    uint32_t refuse_by
    uint32_t sessions_max_per_source
    uint32_t rate_max           # new sessions per second
    uint32_t rate_max_per_source
    uint64_t upload_max         # bytes per second; 0: no limit
    uint64_t download_max
    networks_t allow
    networks_t deny
    networks_t proxied_from

cdef struct pool_t:
    text_t name
    uint32_t present
    uint32_t policy
    uint32_t connect_timeout_ms
    uint32_t first_byte_timeout_ms  # after which an endpoint that was asked has failed; 0: never
    uint32_t attempts_max
    uint32_t eligible_first     # in ids: ascending
    uint32_t eligible_count
    uint32_t schedule_first
    uint32_t schedule_count
    uint32_t hash_on
    uint32_t hash_first         # in ids: by slot of the table, eligible or not
    uint32_t hash_count
    uint32_t bound_percent      # 0: none
    uint64_t hash_key[2]
    uint32_t weight_sum         # of the eligible ones
    uint32_t retry_budget_percent  # of its open sessions; 0: no retries; 100: no bound
    uint32_t queue_max          # 0: no queue
    uint32_t queue_timeout_ms
    uint32_t send_proxy         # 0, 1 or 2: the version
    uint32_t sources_first      # in hosts
    uint32_t sources_count

cdef struct endpoint_t:
    text_t name
    text_t pool
    text_t address_text
    uint32_t present
    uint32_t weight             # without the common divisor of its pool's eligible ones
    uint32_t sessions_max       # 0: no limit
    uint32_t eligible
    uint32_t unused
    place_t address

cdef struct table_t:
    # A mapped snapshot, with its parts as pointers.
    const header_t* header
    const listener_t* listeners
    const pool_t* pools
    const endpoint_t* endpoints
    const uint32_t* ids
    const range4_t* ranges4
    const range6_t* ranges6
    const address_t* hosts      # their ports are 0
    const char* text
    size_t size

# Maps and checks the descriptor, which stays the caller's. 0, or -1 with a reason in `*why` (static text).
cdef int map_table(int fd, table_t* table, const char** why) noexcept nogil
cdef void unmap_table(table_t* table) noexcept nogil
