# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The retry budget. It is Envoy's: it bounds the sessions that are on a further attempt now, as a share of
those that are open, not how many begin one. A pool that hangs would else get attempts_max times the
connections that it cannot take. It is counted for each worker by itself, and never below ten.

Two exceptions keep it from failing sessions that another endpoint would serve. An attempt that was refused,
or found no route, cost nobody anything and does not count: a closed port never meets the budget. And those
that begin within one millisecond do not count against each other, for timeouts come in batches.
"""
from lb._ext.board cimport FAILED_RESET, FAILED_TIMEOUT, pool_cell_t
from lb._ext.linux cimport *
from lb._ext.state cimport *
from lb._ext.table cimport pool_t

cdef enum:
    RETRIES_MIN = 10            # of a worker and pool, however few sessions are open


cdef bint may_retry(engine_t* e, session_t* s, const pool_t* pool) noexcept nogil:
    cdef pool_cell_t* cell = &e.pools[s.pool]
    cdef retries_t* retries = &e.retrying[s.pool]
    cdef uint32_t percent = pool.retry_budget_percent
    cdef bint hung = has_hung(s)
    if is_local(s):
        return True
    if retries.fresh_ms != e.now_ms:
        retries.fresh_ms, retries.fresh = e.now_ms, 0
    if percent == 0 or (percent < 100 and hung and retries.open - retries.fresh >= max(
            <uint64_t>RETRIES_MIN, <uint64_t>cell.sessions_open * percent // 100)):
        cell.retries_refused_total += 1
        return False
    cell.retries_total += 1
    if hung:
        s.retrying = 1
        retries.open += 1
        retries.fresh += 1
    return True


cdef bint has_hung(const session_t* s) noexcept nogil:
    """Whether an attempt failed in a way that took time or work of the endpoint."""
    cdef int i
    for i in range(s.attempts):
        if s.results[i] == FAILED_TIMEOUT or s.results[i] == FAILED_RESET:
            return True
    return False
