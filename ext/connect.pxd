# cython: language_level=3
"""From the pool to an endpoint that has answered."""
from libc.stdint cimport uint32_t

from lb._ext.state cimport engine_t, session_t

# Starts an attempt at the next endpoint; queues the session, or ends it, when there is none. Whatever state
# the session had before, it is CONNECTING, QUEUED, STARVED or gone after.
cdef void connect_somewhere(engine_t* e, session_t* s) noexcept nogil
# No endpoint will take it: refused as its listener says.
cdef void turn_away(engine_t* e, session_t* s, int reason) noexcept nogil
# A STARVED session is tried again.
cdef void connect_again(engine_t* e, session_t* s) noexcept nogil
# The endpoint of a CONNECTING session is given up, which is no failure of either: another one is tried.
cdef void try_elsewhere(engine_t* e, session_t* s) noexcept nogil
# An event of the upstream socket of a CONNECTING session.
cdef void on_connecting(engine_t* e, session_t* s, uint32_t events) noexcept nogil
# The present attempt is over: `failure` is FAILED_.... The upstream side is closed, the endpoint released.
cdef void attempt_failed(engine_t* e, session_t* s, int failure) noexcept nogil
