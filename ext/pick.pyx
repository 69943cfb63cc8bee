# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The policies. Who is eligible the supervisor decided; here only room and what was tried are looked at."""
from lb._ext.board cimport endpoint_open
from lb._ext.linux cimport *
from lb._ext.state cimport *
from lb._ext.table cimport POLICY_LEAST_CONNECTIONS, pool_t

cdef enum:
    SCHEDULE_STEPS_MAX = 4096   # past full and tried entries, before all is called full

cdef enum verdict_t:
    FITS
    FULL
    TRIED


cdef uint32_t pick(engine_t* e, const pool_t* pool, const session_t* s) noexcept nogil:
    if pool.policy == POLICY_LEAST_CONNECTIONS:
        return least_connections(e, pool, s)
    return round_robin(e, pool, s)


cdef verdict_t verdict(engine_t* e, const session_t* s, uint32_t endpoint) noexcept nogil:
    cdef uint32_t sessions_max = e.table.endpoints[endpoint].sessions_max
    cdef int i
    for i in range(s.attempts):
        if s.tried[i] == endpoint:
            return TRIED
    if sessions_max and endpoint_open(&e.board, endpoint) >= sessions_max:
        return FULL
    return FITS


cdef uint32_t round_robin(engine_t* e, const pool_t* pool, const session_t* s) noexcept nogil:
    """The schedule holds the weights; the cursor is one for all workers, so their turns make one round.

    A further attempt begins anywhere: if it took a turn too, every first attempt of two endpoints would go to
    the one that fails.
    """
    cdef const uint32_t* schedule = e.table.ids + pool.schedule_first
    cdef uint32_t count = pool.schedule_count
    cdef uint32_t step, endpoint
    cdef uint32_t outcome = PICK_NONE
    cdef uint64_t at
    cdef verdict_t found
    if count == 0:
        return PICK_NONE
    at = draw(e) if s.attempts else fetch_and_count(&e.board.cursors[(pool - e.table.pools) * 8])
    for step in range(min(count, <uint32_t>SCHEDULE_STEPS_MAX)):
        endpoint = schedule[(at + step) % count]
        found = verdict(e, s, endpoint)
        if found == FITS:
            return endpoint
        if found == FULL:
            outcome = PICK_FULL
    return outcome


cdef uint32_t least_connections(engine_t* e, const pool_t* pool, const session_t* s) noexcept nogil:
    """The least sessions for its weight over all workers, those being connected included; ties by lot."""
    cdef const uint32_t* eligible = e.table.ids + pool.eligible_first
    cdef uint32_t outcome = PICK_NONE
    cdef uint64_t best_open = 0
    cdef uint64_t best_weight = 1
    cdef uint64_t open, weight
    cdef uint32_t i, endpoint, ties = 0
    cdef verdict_t found
    for i in range(pool.eligible_count):
        endpoint = eligible[i]
        found = verdict(e, s, endpoint)
        if found != FITS:
            if found == FULL and outcome == PICK_NONE:
                outcome = PICK_FULL
            continue
        open, weight = endpoint_open(&e.board, endpoint), e.table.endpoints[endpoint].weight
        if ties == 0 or open * best_weight < best_open * weight:
            outcome, best_open, best_weight, ties = endpoint, open, weight, 1
        elif open * best_weight == best_open * weight:
            ties += 1
            if draw(e) % ties == 0:
                outcome, best_weight, best_open = endpoint, weight, open
    return outcome


cdef uint32_t draw(engine_t* e) noexcept nogil:
    """xorshift32 (Marsaglia 2003): a lot, not a secret."""
    cdef uint32_t x = e.random
    x ^= x << 13
    x ^= x >> 17
    x ^= x << 5
    e.random = x
    return x
