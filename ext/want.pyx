# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Want of our own.

Facts
  1  It passes: sessions end, ports leave TIME_WAIT. So a session that finds nothing to connect with is tried
     again, until its routing deadline (not counting the time that it spent in a queue).
  2  Whoever was accepted meanwhile would starve too: its listener accepts nobody until it is through.
  3  Ports are wanting towards one endpoint at a time, for a port is taken for a pair of addresses. So the
     others are tried first.
"""
from lb._ext.board cimport FAILED_LOCAL
from lb._ext.linux cimport *
from lb._ext.state cimport *
from lb._ext.transitions cimport become
from lb._ext.wheel cimport set_deadline

cdef enum:
    STARVED_EVERY_MS = 50       # all that starve are tried at the same time


cdef want_t want_of(int error) noexcept nogil:
    if error == EADDRNOTAVAIL or error == EADDRINUSE or error == EAGAIN:
        return WANT_PORT
    if error in (EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC):
        return WANT_ANYTHING
    return WANT_NOTHING


cdef bint starve(engine_t* e, session_t* s) noexcept nogil:
    cdef uint32_t routing_ms = e.table.listeners[s.listener].routing_ms
    cdef uint64_t until_ms = (s.accepted_ns + s.queued_ns) // 1000000 + routing_ms
    if e.now_ms >= until_ms:
        return False
    forget_attempts(s)
    become(s, STARVED)
    e.starved[s.listener] += 1
    e.starved_count += 1
    if not s.starved:
        s.starved = 1
        e.cell.starved_total += 1
    set_deadline(e, s, min((e.now_ms // STARVED_EVERY_MS + 1) * STARVED_EVERY_MS, until_ms))
    return True


cdef void forget_attempts(session_t* s) noexcept nogil:
    """Those that failed for want of our own: else their endpoints would count as tried."""
    cdef uint8_t i, kept = 0
    for i in range(s.attempts):
        if s.results[i] != FAILED_LOCAL:
            s.tried[kept], s.results[kept] = s.tried[i], s.results[i]
            kept += 1
    s.attempts = kept
