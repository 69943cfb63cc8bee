# cython: language_level=3
"""A session from accept to its one record."""
from libc.stdint cimport uint32_t

from lb._ext.state cimport engine_t, listening_t, session_t

# A listening socket is readable: accepts a bounded batch, or pauses it for want of room.
cdef void welcome(engine_t* e, listening_t* here) noexcept nogil
# An event of one side of a session that lives.
cdef void on_event(engine_t* e, session_t* s, int side, uint32_t events) noexcept nogil
# The session's entry in the wheel is due.
cdef void on_deadline(engine_t* e, session_t* s) noexcept nogil
# Goes on with a session from the ready list.
cdef void go_on(engine_t* e, session_t* s) noexcept nogil
# Ends a session by a reset to both sides: lb cuts it, and neither may take it for complete.
cdef void cut(engine_t* e, session_t* s, int reason) noexcept nogil
# Takes a listening socket out of the epoll set, and puts paused ones back where there is room.
cdef void resume_paused(engine_t* e) noexcept nogil
