# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The policies. Who is eligible the supervisor decided; here only room and what was tried are looked at.

Facts
  1  A schedule holds an endpoint as often as its weight says, so one of its entries, drawn evenly, is an
     endpoint drawn by weight.
  2  The scoreboard has a column for each worker: what a policy reads of it, it reads of all of them.

Consequences
  Every policy but least_connections is a few look-ups, however many endpoints there are; that one adds up
  the columns first and looks at an endpoint's line only where the weights differ.
  Draws and steps are bounded. What they missed because nearly all is full or tried, one walk over the
  eligible ones finds; so PICK_FULL and PICK_NONE are always true.
"""
from libc.string cimport memset

from lb._ext.board cimport ENDPOINTS_MAX, endpoint_open
from lb._ext.cost cimport cost_of, expect_cost
from lb._ext.hash cimport pick_by_hash
from lb._ext.linux cimport *
from lb._ext.room cimport FITS, FULL, first_that_fits, verdict, verdict_t
from lb._ext.state cimport *
from lb._ext.table cimport *

cdef enum:
    TURNS_MAX = 8
    SCHEDULE_STEPS_MAX = 4096   # past full and tried entries
    STRETCH = 64                # ids that may follow one another without a gap
    DRAWS_MAX = 16              # of three endpoints one fits: 0.2 % of the picks need the walk


cdef uint32_t pick(engine_t* e, const pool_t* pool, session_t* s) noexcept nogil:
    cdef uint32_t policy = pool.policy
    if policy == POLICY_ROUND_ROBIN:
        return round_robin(e, pool, s)
    if policy == POLICY_LEAST_CONNECTIONS:
        return least_connections(e, pool, s)
    if policy == POLICY_RANDOM:
        return drawn(e, pool, s, NONE)
    if policy == POLICY_POWER_OF_TWO:
        return power_of_two(e, pool, s)
    if policy == POLICY_PEAK_EWMA:
        return peak_ewma(e, pool, s)
    return pick_by_hash(e, pool, s)


# ---- Round robin ------------------------------------------------------------------------------------

cdef uint32_t round_robin(engine_t* e, const pool_t* pool, const session_t* s) noexcept nogil:
    """The schedule holds the weights; the cursor is one for all workers, so their turns make one round.

    A further attempt begins anywhere: if it took a turn too, every first attempt of two endpoints would go to
    the one that fails. The turn of one that is full or was tried is given up, and another taken: handed to
    its neighbour, it would double that one's share.
    """
    cdef const uint32_t* schedule = e.table.ids + pool.schedule_first
    cdef uint32_t count = pool.schedule_count
    cdef uint32_t at, _
    cdef uint32_t outcome = PICK_NONE
    cdef uint64_t turn
    cdef verdict_t found
    if count == 0:
        return PICK_NONE
    for _ in range(min(count, <uint32_t>TURNS_MAX)):
        turn = draw(e) if s.attempts else fetch_and_count(&e.board.cursors[(pool - e.table.pools) * 8])
        at = turn % count
        if verdict(e, s, schedule[at]) == FITS:
            return schedule[at]
    for _ in range(min(count, <uint32_t>SCHEDULE_STEPS_MAX)):
        found = verdict(e, s, schedule[at])
        if found == FITS:
            return schedule[at]
        if found == FULL:
            outcome = PICK_FULL
        at = at + 1 if at + 1 < count else 0
    return outcome if count <= SCHEDULE_STEPS_MAX else first_that_fits(e, pool, s, draw(e), NONE)


# ---- By lot -----------------------------------------------------------------------------------------

cdef uint32_t drawn(engine_t* e, const pool_t* pool, const session_t* s, uint32_t but) noexcept nogil:
    """By lot and by weight, except `but`."""
    cdef const uint32_t* schedule = e.table.ids + pool.schedule_first
    cdef uint32_t endpoint
    cdef int _
    if pool.schedule_count == 0:
        return PICK_NONE
    for _ in range(DRAWS_MAX):
        endpoint = schedule[lot(e, pool.schedule_count)]
        if endpoint != but and verdict(e, s, endpoint) == FITS:
            return endpoint
    return first_that_fits(e, pool, s, draw(e), but)


cdef bint draw_two(engine_t* e, const pool_t* pool, const session_t* s, uint32_t* two) noexcept nogil:
    """Two different ones. False: there is but one, the first, which may be PICK_FULL or PICK_NONE."""
    two[0] = drawn(e, pool, s, NONE)
    if two[0] >= PICK_FULL or pool.eligible_count == 1:
        return False
    two[1] = drawn(e, pool, s, two[0])
    return two[1] < PICK_FULL


cdef uint32_t power_of_two(engine_t* e, const pool_t* pool, const session_t* s) noexcept nogil:
    """The one of two with fewer sessions for its weight. Nearly as even as least_connections, at any size,
    and workers do not run to the same endpoint together (Mitzenmacher 2001)."""
    cdef uint32_t two[2]
    if not draw_two(e, pool, s, two):
        return two[0]
    return two[1] if less_open(e, two[1], two[0]) else two[0]


cdef bint less_open(engine_t* e, uint32_t endpoint, uint32_t other) noexcept nogil:
    cdef uint64_t is_open = endpoint_open(&e.board, endpoint)
    cdef uint64_t others_open = endpoint_open(&e.board, other)
    return is_open * e.table.endpoints[other].weight < others_open * e.table.endpoints[endpoint].weight


cdef uint32_t peak_ewma(engine_t* e, const pool_t* pool, const session_t* s) noexcept nogil:
    """The one of two that costs less: what a session there takes, times those that share it."""
    cdef uint32_t two[2]
    cdef double cost, others_cost
    cdef uint32_t picked = 0
    if draw_two(e, pool, s, two):
        others_cost, cost = burden(e, pool, two[0]), burden(e, pool, two[1])
        if cost < others_cost or (cost == others_cost and less_open(e, two[1], two[0])):
            picked = 1
    if two[picked] < PICK_FULL:
        expect_cost(e, pool, two[picked])
    return two[picked]


cdef double burden(engine_t* e, const pool_t* pool, uint32_t endpoint) noexcept nogil:
    cdef double sharing = endpoint_open(&e.board, endpoint) + <double>1
    return cost_of(e, pool, endpoint) * sharing / e.table.endpoints[endpoint].weight


# ---- Least connections ------------------------------------------------------------------------------

cdef uint32_t least_connections(engine_t* e, const pool_t* pool, const session_t* s) noexcept nogil:
    """The least sessions for its weight over all workers, those being connected included; ties by lot."""
    cdef uint32_t sums[ENDPOINTS_MAX]
    cdef uint32_t endpoint
    if pool.eligible_count == 0:
        return PICK_NONE
    add_columns(e, pool, sums)
    if pool.weight_sum == pool.eligible_count:
        endpoint = least_even(e, pool, sums)
    else:
        endpoint = least_of(e, pool, sums)
    if verdict(e, s, endpoint) == FITS:
        return endpoint
    return least_that_fits(e, pool, s, sums)


cdef void add_columns(engine_t* e, const pool_t* pool, uint32_t* sums) noexcept nogil:
    """Eligible ids ascend and mostly follow one another: then a stretch of a column is added in one go."""
    cdef const uint32_t* eligible = e.table.ids + pool.eligible_first
    cdef const uint32_t* column
    cdef uint32_t left = pool.eligible_count
    cdef uint32_t count, _
    memset(sums, 0, left * sizeof(uint32_t))
    while left:
        count = min(left, <uint32_t>STRETCH)
        column = e.board.endpoint_open
        for _ in range(e.board.count):
            if eligible[count - 1] - eligible[0] == count - 1:
                add_stretch(sums, column + eligible[0], count)
            else:
                add_scattered(sums, column, eligible, count)
            column += ENDPOINTS_MAX
        eligible += count
        sums += count
        left -= count


cdef void add_stretch(uint32_t* sums, const uint32_t* counts, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        sums[i] += counts[i]


cdef void add_scattered(uint32_t* sums, const uint32_t* column, const uint32_t* ids,
                        uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        sums[i] += column[ids[i]]


cdef uint32_t least_even(engine_t* e, const pool_t* pool, const uint32_t* sums) noexcept nogil:
    """Where every weight is 1. Ties are counted first and drawn once."""
    cdef uint32_t i
    cdef uint32_t least = sums[0]
    cdef uint32_t ties = 0
    for i in range(pool.eligible_count):
        least = min(least, sums[i])
    for i in range(pool.eligible_count):
        ties += sums[i] == least
    ties = lot(e, ties) + 1
    for i in range(pool.eligible_count):
        ties -= sums[i] == least
        if ties == 0:
            break
    return e.table.ids[pool.eligible_first + i]


cdef uint32_t least_of(engine_t* e, const pool_t* pool, const uint32_t* sums) noexcept nogil:
    cdef const uint32_t* eligible = e.table.ids + pool.eligible_first
    cdef uint64_t weight, least_weight = e.table.endpoints[eligible[0]].weight
    cdef uint64_t least = sums[0]
    cdef uint32_t i, ties = 0
    for i in range(pool.eligible_count):
        weight = e.table.endpoints[eligible[i]].weight
        if sums[i] * least_weight < least * weight:
            least, least_weight, ties = sums[i], weight, 1
        elif sums[i] * least_weight == least * weight:
            ties += 1
    ties = lot(e, ties)
    for i in range(pool.eligible_count):
        if sums[i] * least_weight == least * e.table.endpoints[eligible[i]].weight:
            if ties == 0:
                break
            ties -= 1
    return eligible[i]


cdef uint32_t least_that_fits(engine_t* e, const pool_t* pool, const session_t* s,
                              const uint32_t* sums) noexcept nogil:
    """The least one is full or was tried: only those that could take its place are asked."""
    cdef const uint32_t* eligible = e.table.ids + pool.eligible_first
    cdef uint64_t weight, least_weight = 1
    cdef uint64_t least = 0
    cdef uint32_t i, ties = 0
    cdef uint32_t picked = NONE
    for i in range(pool.eligible_count):
        weight = e.table.endpoints[eligible[i]].weight
        if ties and sums[i] * least_weight > least * weight or verdict(e, s, eligible[i]) != FITS:
            continue
        if ties and sums[i] * least_weight == least * weight:
            ties += 1
            if lot(e, ties) == 0:
                picked = eligible[i]
        else:
            picked, least, least_weight, ties = eligible[i], sums[i], weight, 1
    return picked if ties else first_that_fits(e, pool, s, 0, NONE)


# ---- Lots -------------------------------------------------------------------------------------------

cdef uint32_t draw(engine_t* e) noexcept nogil:
    """xorshift32 (Marsaglia 2003): a lot, not a secret."""
    cdef uint32_t x = e.random
    x ^= x << 13
    x ^= x >> 17
    x ^= x << 5
    e.random = x
    return x


cdef inline uint32_t lot(engine_t* e, uint32_t count) noexcept nogil:
    """0 to count - 1, without a division (Lemire 2019; it favours none by more than count in 2^32)."""
    return <uint32_t>(<uint64_t>draw(e) * count >> 32)
