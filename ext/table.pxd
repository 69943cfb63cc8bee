# cython: language_level=3
"""The snapshot as workers see it: one flat, sealed, read-only block. This file is its layout.

Offsets are bytes from the start. `endpoints`, `pools` and `listeners` are indexed by stable id; a line whose
`present` is 0 is a free id. `eligible` and `schedule` of a pool are runs of endpoint ids in `ids`. Strings
need no escaping in JSON: the compiler refuses others.

A table belongs to whoever mapped it, until unmap(). Sessions keep ids, never pointers into it.
"""
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from lb._ext.linux cimport address_t

cdef enum:
    LAYOUT = 1                  # of snapshot, scoreboard and ring together
    POLICY_ROUND_ROBIN = 0
    POLICY_LEAST_CONNECTIONS = 1
    ATTEMPTS_MAX = 8            # a slot remembers this many
    TEXT_BYTES_MAX = 128        # of a name or an address: a record has room for all of a session's

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
    uint32_t listeners_offset
    uint32_t pools_offset
    uint32_t endpoints_offset
    uint32_t ids_offset
    uint32_t text_offset
    uint32_t text_size

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

cdef struct pool_t:
    text_t name
    uint32_t present
    uint32_t policy
    uint32_t connect_timeout_ms
    uint32_t attempts_max
    uint32_t eligible_first     # in ids
    uint32_t eligible_count
    uint32_t schedule_first
    uint32_t schedule_count

cdef struct endpoint_t:
    text_t name
    text_t pool
    text_t address_text
    uint32_t present
    uint32_t weight
    uint32_t sessions_max       # 0: no limit
    address_t address

cdef struct table_t:
    # A mapped snapshot, with its parts as pointers.
    const header_t* header
    const listener_t* listeners
    const pool_t* pools
    const endpoint_t* endpoints
    const uint32_t* ids
    const char* text
    size_t size

# Maps and checks the descriptor, which stays the caller's. 0, or -1 with a reason in `*why` (static text).
cdef int map_table(int fd, table_t* table, const char** why) noexcept nogil
cdef void unmap_table(table_t* table) noexcept nogil
