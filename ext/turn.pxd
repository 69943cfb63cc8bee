# cython: language_level=3
"""One turn of the engine after the other. All of it is the worker's one thread's."""
from lb._ext.linux cimport CLOCK_MONOTONIC, clock_ns
from lb._ext.state cimport engine_t

cdef enum:                      # what serve() and step() report, or'ed
    TURN_MORE = 1
    TURN_FAILURES = 2

# Turns for `for_ms`, or until there is something for Python.
cdef int serve(engine_t* e, int for_ms) noexcept nogil
# Drains a batch without waiting.
cdef int step(engine_t* e) noexcept nogil
# Each session on the ready list gets one turn; one that is stopped again waits for the next round.
cdef void run_ready(engine_t* e) noexcept nogil


cdef inline void read_clock(engine_t* e) noexcept nogil:
    e.now_ns = clock_ns(CLOCK_MONOTONIC)
    e.now_ms = e.now_ns // 1000000
