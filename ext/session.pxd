# cython: language_level=3
"""A session from accept to its one record: what happens to it, by its state."""
from libc.stdint cimport int64_t, uint32_t

from lb._ext.state cimport engine_t, session_t

# An event of one side of a session that lives.
cdef void on_event(engine_t* e, session_t* s, int side, uint32_t events) noexcept nogil
# The session's entry in the wheel is due, and out of it.
cdef void on_deadline(engine_t* e, session_t* s) noexcept nogil
# Whoever waits for room in this worker, and may have some.
cdef void serve_queues(engine_t* e) noexcept nogil
# Its turn on the ready list.
cdef void go_on(engine_t* e, session_t* s) noexcept nogil
# Cuts sessions of an endpoint, or of a listener, or (both -1) all, from slot `start` on: a bounded number.
# Returns the slot to go on from, or -1 when all were looked at.
cdef int64_t close_some(engine_t* e, int64_t endpoint, int64_t listener, int reason,
                        uint32_t start) noexcept nogil
