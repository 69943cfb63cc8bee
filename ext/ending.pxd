# cython: language_level=3
"""The ways out of a session, and what is given back on them."""
from libc.stdint cimport uint32_t, uint64_t

from lb._ext.state cimport engine_t, session_t, side_t
from lb._ext.table cimport listener_t

# A side was reset, or its peer vanished: the other one is, once it has acknowledged what came before.
cdef void pass_reset(engine_t* e, session_t* s, int source) noexcept nogil
# The other side is closed at once; `side` when it has acknowledged what it was sent: by a reset, or orderly.
cdef void start_linger(engine_t* e, session_t* s, int side, bint reset) noexcept nogil
# Goes on with a LINGERING session.
cdef void linger(engine_t* e, session_t* s) noexcept nogil
# Ends a session that lb refuses, in the way that its listener says (refuse_by). No endpoint knows of it.
cdef void refuse(engine_t* e, session_t* s, const listener_t* line, int reason) noexcept nogil
# An endpoint failed a session (FAILED_...): counted, and told the supervisor.
cdef void note_failure(engine_t* e, uint32_t endpoint, int failure) noexcept nogil
# Ends a session by a reset to both sides: lb cuts it, and neither may take it for complete.
cdef void cut(engine_t* e, session_t* s, int reason) noexcept nogil
# The one way out: closes, counts, records, and gives the slot back.
cdef void end(engine_t* e, session_t* s, int reason, int closer) noexcept nogil
cdef void close_side(engine_t* e, side_t* here) noexcept nogil
# The endpoint has one session less, before its client can see that.
cdef void release(engine_t* e, session_t* s) noexcept nogil
cdef void give_opening(engine_t* e, session_t* s) noexcept nogil
# REASON_...: how the connection of this side, CLIENT or UPSTREAM, was lost.
cdef int loss_of(side_t* here, int side) noexcept nogil
# Before the upstream side is closed by us: no port of ours is to wait for the endpoint's end of stream.
cdef void spare_port(side_t* upstream) noexcept nogil
# Moves the session's entry in the wheel if that is later, or sets it.
cdef void sooner(engine_t* e, session_t* s, uint64_t deadline_ms) noexcept nogil
