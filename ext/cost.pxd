# cython: language_level=3
"""What a session at an endpoint takes: the peak EWMA of connects and first bytes, for peak_ewma."""
from libc.stdint cimport uint32_t, uint64_t

from lb._ext.state cimport engine_t, session_t
from lb._ext.table cimport POLICY_PEAK_EWMA, pool_t

# In ns, by all workers' columns. 0: nothing is known of it, and nobody is finding out.
cdef double cost_of(engine_t* e, const pool_t* pool, uint32_t endpoint) noexcept nogil
# A session was sent there: if nothing fresh is known, others wait for what it will find.
cdef void expect_cost(engine_t* e, const pool_t* pool, uint32_t endpoint) noexcept nogil
# What the session found at its endpoint, now. It has one, and its pool weighs costs.
cdef void connect_took(engine_t* e, const session_t* s) noexcept nogil
cdef void connect_failed(engine_t* e, const session_t* s) noexcept nogil
# `active_ms`: when bytes moved before this first one of the endpoint's.
cdef void first_byte_took(engine_t* e, const session_t* s, uint64_t active_ms) noexcept nogil


cdef inline bint weighs_costs(engine_t* e, const session_t* s) noexcept nogil:
    return (s.pool < e.table.header.pools_count and e.table.pools[s.pool].policy == POLICY_PEAK_EWMA)
