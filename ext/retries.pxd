# cython: language_level=3
"""The retry budget of a pool: how many sessions may be on a further attempt at a time."""
from lb._ext.board cimport FAILED_LOCAL
from lb._ext.debug cimport count_down
from lb._ext.state cimport engine_t, retries_t, session_t
from lb._ext.table cimport pool_t

# Whether a session whose attempts so far have failed may make another. If so it is counted.
cdef bint may_retry(engine_t* e, session_t* s, const pool_t* pool) noexcept nogil


cdef inline bint is_local(const session_t* s) noexcept nogil:
    """Whether every attempt failed for want of our own."""
    cdef int i
    for i in range(s.attempts):
        if s.results[i] != FAILED_LOCAL:
            return False
    return True


cdef inline void stop_retrying(engine_t* e, session_t* s) noexcept nogil:
    """Its further attempt is over, whatever came of it."""
    cdef retries_t* retries = &e.retrying[s.pool]
    if s.retrying:
        s.retrying = 0
        count_down(&retries.open)
        if s.connect_from_ns // 1000000 == retries.fresh_ms:
            retries.fresh -= 1
