# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Waiting for room at an endpoint."""
from lb._ext.state cimport *
from lb._ext.table cimport pool_t


cdef bint somebody_waits(engine_t* e, uint32_t pool) noexcept nogil:
    return False


cdef bint enqueue(engine_t* e, session_t* s, const pool_t* pool) noexcept nogil:
    return False


cdef void leave_queue(engine_t* e, session_t* s) noexcept nogil:
    pass


cdef session_t* next_served(engine_t* e) noexcept nogil:
    return NULL
