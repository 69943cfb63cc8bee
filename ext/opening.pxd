# cython: language_level=3
"""From accept to the pool: what the client says first (a PROXY header, a ClientHello), then the gate."""
from libc.stdint cimport uint32_t

from lb._ext.state cimport engine_t, session_t

# A session was accepted and is watched: reads what is to be read, or goes on to an endpoint at once.
cdef void open_session(engine_t* e, session_t* s) noexcept nogil
# The client of an OPENING session said more, or left.
cdef void on_opening(engine_t* e, session_t* s) noexcept nogil
# It has not said what it was to say when the routing deadline passed.
cdef void opening_late(engine_t* e, session_t* s) noexcept nogil
