# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Opening. Most sessions have nothing to say first, and go on to an endpoint within the same turn."""
from lb._ext.connect cimport connect_somewhere
from lb._ext.ending cimport refuse
from lb._ext.gate cimport admit
from lb._ext.state cimport *
from lb._ext.table cimport listener_t
from lb._ext.transitions cimport become


cdef void open_session(engine_t* e, session_t* s) noexcept nogil:
    cdef const listener_t* line = &e.table.listeners[s.listener]
    become(s, OPENING)
    s.opens = line.opens
    go_to_pool(e, s, line)


cdef void on_opening(engine_t* e, session_t* s) noexcept nogil:
    pass


cdef void go_to_pool(engine_t* e, session_t* s, const listener_t* line) noexcept nogil:
    cdef int reason = admit(e, s, line) if line.gates else -1
    if reason != -1:
        refuse(e, s, line, reason)
        return
    connect_somewhere(e, s)
