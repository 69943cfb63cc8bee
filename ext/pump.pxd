# cython: language_level=3
"""One direction of a session: from a side that has bytes to a side that takes them."""
from lb._ext.linux cimport *
from lb._ext.state cimport VANISHED, engine_t, session_t, side_t

cdef enum pumped_t:
    PUMP_WAITS                  # nothing more to read, or the taker is blocked: an edge will come
    PUMP_STOPPED                # it could go on: the turn's bytes are used up
    PUMP_PACED                  # it could go on, but must wait for tokens
    PUMP_FINISHED               # the source's end of stream was read, and every byte before it was taken
    PUMP_SOURCE_RESET           # the source was reset, and every byte before it was handed over or kept
    PUMP_TAKER_RESET            # the taker was reset: what it was to get is lost
    PUMP_NO_MEMORY
    PUMP_FORBIDDEN              # a PROXY header from a client that must not send one

# `source` is CLIENT or UPSTREAM; both descriptors are open. Updates the session's byte counts and its time.
cdef pumped_t pump(engine_t* e, session_t* s, int source) noexcept nogil
# The same, from the client of a session that is OPEN_DOUBTED, until its first bytes have shown what they are.
cdef pumped_t pump_doubted(engine_t* e, session_t* s) noexcept nogil
# Gives a side what was kept for it. PUMP_WAITS: it is blocked; PUMP_FINISHED: nothing is left.
cdef pumped_t flush(engine_t* e, side_t* taker) noexcept nogil
cdef void drop_kept(engine_t* e, side_t* taker) noexcept nogil


cdef inline void note_error(side_t* here, int error) noexcept nogil:
    """What ended its connection. Keepalive, retransmissions and window probes that had no answer end it with
    a timeout, or with what ICMP said meanwhile."""
    if error in (ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENONET, ENOPROTOOPT):
        here.flags |= VANISHED


cdef inline bint has_kept(const side_t* taker) noexcept nogil:
    return taker.kept != NULL or taker.pipe != NULL
