# cython: language_level=3
"""The debug build (`LB_DEBUG=1 ./dev build`): what must hold is checked where it could break.

A breach aborts at once, with file, line and words, rather than going on with a damaged engine. Everything
here is a macro or inline, and DEBUG is a constant: a release build contains none of it.
"""
from libc.stddef cimport size_t
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from lb._ext.linux cimport EBADF, close, errno

cdef extern from *:
    """
    #ifdef LB_DEBUG
    #include <stdio.h>
    #include <stdlib.h>
    #define LB_DEBUGGING 1
    #define lb_bug_on(condition, text) ((condition) ? lb_bug(__FILE__, __LINE__, (text)) : (void)0)
    __attribute__((unused, noreturn, cold))
    static void lb_bug(const char* file, int line, const char* text) {
        fprintf(stderr, "lb: bug: %s:%d: %s\\n", file, line, text);
        abort();
    }
    #else
    #define LB_DEBUGGING 0
    #define lb_bug_on(condition, text) ((void)sizeof(condition), (void)sizeof(text)) /* not evaluated */
    #endif
    """
    enum:
        DEBUG "LB_DEBUGGING"
    # Aborts if the condition is true. The condition must have no effect of its own.
    void bug_on "lb_bug_on"(bint condition, const char* text) noexcept nogil

cdef enum:
    POISON = 0xDB               # what was given back is filled with it


cdef inline void close_owned(int fd) noexcept nogil:
    """Closes a descriptor of ours. In a debug build: it must have been one."""
    cdef int outcome
    bug_on(fd < 0, "a descriptor that is none is closed")
    outcome = close(fd)
    bug_on(outcome == -1 and errno == EBADF, "a descriptor is closed twice")


cdef inline void poison(void* place, size_t size) noexcept nogil:
    cdef size_t i
    if DEBUG:
        for i in range(size):
            (<uint8_t*>place)[i] = POISON


cdef inline bint is_poisoned(const void* place, size_t size) noexcept nogil:
    cdef size_t i
    for i in range(size):
        if (<const uint8_t*>place)[i] != POISON:
            return False
    return True


cdef inline void count_down(uint32_t* gauge) noexcept nogil:
    bug_on(gauge[0] == 0, "more is given back than was taken")
    gauge[0] -= 1


cdef inline void count_down_long(uint64_t* gauge) noexcept nogil:
    bug_on(gauge[0] == 0, "more is given back than was taken")
    gauge[0] -= 1
