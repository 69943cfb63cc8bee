# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Peak EWMA (Finagle's and linkerd2's). Theory of operation.

Facts
  1  A sample that is higher than the cost replaces it at once; a lower one is let in by the time since the
     last, with a time constant of 10 s (theirs). A cost without samples fades likewise, so that an endpoint
     that was slow is tried again.
  2  A refused connect is the fastest answer of all. It counts as one that took the whole connect timeout.
  3  A client that connects early and asks late would make any endpoint look slow. So the wait for the first
     byte counts from the bytes that went to the endpoint last; to the millisecond, and never from before the
     connection stood.

Consequences
  The peak over the columns of all workers, each faded by its own age, is what one column with the samples of
  all would hold: fading to 0 and fading to lower samples differ by no more than those samples. So all are
  read: what one worker's session found out at its own expense the others need not, and at a low rate of
  sessions eight workers would each know too little. It costs a cache line for each worker and endpoint.
  A pool's endpoint of which nothing fresh is known gets a session, and until that has found something, it is
  taken to cost the connect timeout: a cold endpoint is tried, not stampeded. If the session found nothing
  (its client left), that is over after the timeout.

Rejected
  Finagle's penalty for unknown endpoints that have sessions: here sessions stay for hours, and one endpoint
  with a few of them would never be picked again. A column for oneself alone: see above.
"""
from libc.math cimport exp

from lb._ext.board cimport ENDPOINTS_MAX, endpoint_cell_t
from lb._ext.state cimport *
from lb._ext.table cimport pool_t

cdef double FADE_NS = 10e9      # until then a cost is fresh
cdef double AWAITED = -1        # in place of a cost: a session was sent to find out

cdef enum:
    MS_NS = 1000000


cdef double cost_of(engine_t* e, const pool_t* pool, uint32_t endpoint) noexcept nogil:
    cdef const endpoint_cell_t* cell = e.board.endpoints + endpoint
    cdef double cost = 0
    cdef double timeout_ns = <double>pool.connect_timeout_ms * MS_NS
    cdef uint32_t _
    for _ in range(e.board.count):
        if cell.cost_ns > cost:  # else it cannot be the peak: it only fades
            cost = max(cost, faded(cell.cost_ns, age_ns(e, cell)))
        elif cell.cost_ns == AWAITED and timeout_ns > cost and age_ns(e, cell) < timeout_ns:
            cost = timeout_ns
        cell += ENDPOINTS_MAX
    return cost


cdef void expect_cost(engine_t* e, const pool_t* pool, uint32_t endpoint) noexcept nogil:
    cdef const endpoint_cell_t* cell = e.board.endpoints + endpoint
    cdef double timeout_ns = <double>pool.connect_timeout_ms * MS_NS
    cdef uint32_t _
    for _ in range(e.board.count):
        if cell.cost_at_ns and age_ns(e, cell) < (timeout_ns if cell.cost_ns == AWAITED else FADE_NS):
            return
        cell += ENDPOINTS_MAX
    e.endpoints[endpoint].cost_ns = AWAITED
    e.endpoints[endpoint].cost_at_ns = e.now_ns


cdef void connect_took(engine_t* e, const session_t* s) noexcept nogil:
    put_sample(e, s.endpoint, e.now_ns - s.connect_from_ns)


cdef void connect_failed(engine_t* e, const session_t* s) noexcept nogil:
    put_sample(e, s.endpoint, <uint64_t>e.table.pools[s.pool].connect_timeout_ms * MS_NS)


cdef void first_byte_took(engine_t* e, const session_t* s, uint64_t active_ms) noexcept nogil:
    put_sample(e, s.endpoint, e.now_ns - max(s.connected_ns, min(active_ms * MS_NS, e.now_ns)))


cdef void put_sample(engine_t* e, uint32_t endpoint, uint64_t sample_ns) noexcept nogil:
    cdef endpoint_cell_t* cell = &e.endpoints[endpoint]
    cdef double kept
    if sample_ns < cell.cost_ns:
        kept = faded(1, age_ns(e, cell))
        cell.cost_ns = cell.cost_ns * kept + sample_ns * (1 - kept)
    else:
        cell.cost_ns = sample_ns
    cell.cost_at_ns = e.now_ns


cdef double faded(double cost_ns, double age) noexcept nogil:
    return cost_ns * exp(-age / FADE_NS)


cdef double age_ns(engine_t* e, const endpoint_cell_t* cell) noexcept nogil:
    """Another worker's clock may have been read after ours."""
    return e.now_ns - cell.cost_at_ns if cell.cost_at_ns < e.now_ns else 0
