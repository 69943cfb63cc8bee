# cython: language_level=3
"""New clients."""
from lb._ext.state cimport engine_t, listening_t

# A listening socket is readable: accepts a bounded batch, or pauses it for want of room.
cdef void welcome(engine_t* e, listening_t* here) noexcept nogil
# Takes a listening socket out of the epoll set until there may be room again.
cdef void pause(engine_t* e, listening_t* here) noexcept nogil
# Puts paused ones back where there is room.
cdef void resume_paused(engine_t* e) noexcept nogil
