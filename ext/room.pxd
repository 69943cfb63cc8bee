# cython: language_level=3
"""Whether a session may go to an endpoint: what every policy asks of one that is eligible."""
from libc.stdint cimport uint32_t

from lb._ext.board cimport endpoint_open
from lb._ext.pick cimport PICK_FULL, PICK_NONE
from lb._ext.state cimport engine_t, session_t
from lb._ext.table cimport pool_t

cdef enum verdict_t:
    FITS
    FULL
    TRIED


cdef inline verdict_t verdict(engine_t* e, const session_t* s, uint32_t endpoint) noexcept nogil:
    cdef uint32_t sessions_max = e.table.endpoints[endpoint].sessions_max
    cdef int i
    for i in range(s.attempts):
        if s.tried[i] == endpoint:
            return TRIED
    if sessions_max and endpoint_open(&e.board, endpoint) >= sessions_max:
        return FULL
    return FITS


cdef inline uint32_t first_that_fits(engine_t* e, const pool_t* pool, const session_t* s, uint32_t start,
                                     uint32_t but) noexcept nogil:
    """Of the eligible ones except `but`, from number `start` on and round; else PICK_FULL or PICK_NONE."""
    cdef const uint32_t* eligible = e.table.ids + pool.eligible_first
    cdef uint32_t outcome = PICK_NONE
    cdef uint32_t _, endpoint
    cdef uint32_t at = start % pool.eligible_count if pool.eligible_count else 0
    cdef verdict_t found
    for _ in range(pool.eligible_count):
        endpoint = eligible[at]
        at = at + 1 if at + 1 < pool.eligible_count else 0
        if endpoint == but:
            continue
        found = verdict(e, s, endpoint)
        if found == FITS:
            return endpoint
        if found == FULL:
            outcome = PICK_FULL
    return outcome
