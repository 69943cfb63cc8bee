# cython: language_level=3
"""Deadlines of sessions: a hierarchical wheel in milliseconds, one entry per session.

A session that moves bytes does not touch the wheel: when its entry is due, deadlines.pyx looks whether the
deadline has moved and puts it back. So a message costs nothing here.
"""
from libc.stdint cimport uint64_t

from lb._ext.state cimport engine_t, session_t

cdef void start_wheel(engine_t* e) noexcept nogil
# Puts a session in, or moves it. A deadline that has passed is due at the next turn.
cdef void set_deadline(engine_t* e, session_t* s, uint64_t deadline_ms) noexcept nogil
cdef void clear_deadline(engine_t* e, session_t* s) noexcept nogil
# Collects what is due up to now.
cdef void turn_wheel(engine_t* e, uint64_t now_ms) noexcept nogil
# Takes one that is due out of the wheel; NULL when there is none.
cdef session_t* take_due(engine_t* e) noexcept nogil
cdef bint some_due(const engine_t* e) noexcept nogil
# When the wheel must be turned next; UINT64_MAX: it is empty.
cdef uint64_t next_turn_ms(const engine_t* e) noexcept nogil
