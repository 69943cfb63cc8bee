# cython: language_level=3
"""Want of our own: no descriptor, no port, no memory to connect with. The session is STARVED then."""
from lb._ext.debug cimport count_down
from lb._ext.state cimport STARVED, engine_t, session_t

cdef enum want_t:
    WANT_NOTHING                # the failure is not ours, or will not pass
    WANT_PORT                   # another endpoint may do
    WANT_ANYTHING               # none will

cdef want_t want_of(int error) noexcept nogil
# Its state is STARVED, with a deadline at which it is tried again. False: it has waited for long enough.
cdef bint starve(engine_t* e, session_t* s) noexcept nogil


cdef inline void stop_starving(engine_t* e, session_t* s) noexcept nogil:
    if s.state == STARVED:
        count_down(&e.starved[s.listener])
        count_down(&e.starved_count)
        e.room_made = True
