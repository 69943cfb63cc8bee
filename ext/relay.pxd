# cython: language_level=3
"""A session whose endpoint has answered: bytes, ends of stream and resets are passed on, both ways."""
from libc.stdint cimport uint32_t

from lb._ext.state cimport engine_t, session_t

# An event of one side; its flags are up to date.
cdef void on_relaying(engine_t* e, session_t* s, int side, uint32_t events) noexcept nogil
# Pumps both directions. The session may be gone after.
cdef void go_on_relaying(engine_t* e, session_t* s) noexcept nogil
# A side's peer has vanished: what it sent before goes to the other side, then a reset. False: the session is
# no longer RELAYING.
cdef bint lose(engine_t* e, session_t* s, int side) noexcept nogil
