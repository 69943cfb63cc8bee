# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Who is let in."""
from lb._ext.state cimport *
from lb._ext.table cimport networks_t, table_t


cdef int admit(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    return -1


cdef void leave_source(engine_t* e, session_t* s) noexcept nogil:
    pass


cdef bint is_paced(engine_t* e, uint32_t listener) noexcept nogil:
    return False


cdef bint is_in(const table_t* table, const networks_t* networks, const address_t* address) noexcept nogil:
    return False
