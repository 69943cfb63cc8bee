# cython: language_level=3
"""The endpoint, for whoever turns it in a loop of their own (pace.pyx); its modes stand in endpoint.pyx.

`prepare` takes over `listener`, a non-blocking listening socket; `reply` stays the caller's and must outlive
the endpoint. Its `epfd` is readable when `turn` has something to do.
"""
from libc.stdint cimport uint32_t

cdef struct endpoint_t:
    int epfd
    int listener
    int mode
    const char* reply
    uint32_t reply_size
    char* buffer

cdef int prepare(endpoint_t* e, int listener, int mode, const char* reply, uint32_t reply_size) noexcept nogil
cdef void turn(endpoint_t* e, int wait_ms) noexcept nogil
