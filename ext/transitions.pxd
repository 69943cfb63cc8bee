# cython: language_level=3
"""The states of a session, and which may follow which.

    FREE -> OPENING         accepted
    OPENING -> QUEUED, STARVED, CONNECTING      it said what was awaited, or has nothing to say
    QUEUED -> STARVED, CONNECTING               its turn has come
    STARVED -> STARVED, QUEUED, CONNECTING      it is tried again
    CONNECTING -> STARVED, QUEUED, CONNECTING   the attempt failed
    CONNECTING -> RELAYING                      the endpoint has answered
    RELAYING -> LINGERING                       one side is gone, the other has bytes to acknowledge
    any -> FREE             in ending.end() alone, with its one record

A FREE slot that is on the ready list stays out of the free list until the ready list has come to it.
"""
from libc.stdint cimport uint8_t, uint32_t

from lb._ext.debug cimport bug_on
from lb._ext.state cimport (
    CONNECTING, FREE, LINGERING, OPENING, QUEUED, RELAYING, STARVED, session_t,
)

cdef enum:
    AFTER_FREE = 1 << OPENING
    AFTER_OPENING = 1 << QUEUED | 1 << STARVED | 1 << CONNECTING | 1 << FREE
    AFTER_QUEUED = 1 << STARVED | 1 << CONNECTING | 1 << FREE
    AFTER_STARVED = 1 << STARVED | 1 << QUEUED | 1 << CONNECTING | 1 << FREE
    AFTER_CONNECTING = 1 << STARVED | 1 << QUEUED | 1 << CONNECTING | 1 << RELAYING | 1 << FREE
    AFTER_RELAYING = 1 << LINGERING | 1 << FREE
    AFTER_LINGERING = 1 << FREE


cdef inline void become(session_t* s, uint8_t state) noexcept nogil:
    """The only way a session's state changes."""
    bug_on(not may_follow(s.state, state), "a session goes from a state to one that cannot follow it")
    s.state = state


cdef inline bint may_follow(uint8_t before, uint8_t after) noexcept nogil:
    cdef uint32_t following = 0
    if before == FREE:
        following = AFTER_FREE
    elif before == OPENING:
        following = AFTER_OPENING
    elif before == QUEUED:
        following = AFTER_QUEUED
    elif before == STARVED:
        following = AFTER_STARVED
    elif before == CONNECTING:
        following = AFTER_CONNECTING
    elif before == RELAYING:
        following = AFTER_RELAYING
    elif before == LINGERING:
        following = AFTER_LINGERING
    return (following >> after) & 1
