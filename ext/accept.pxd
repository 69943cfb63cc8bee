# cython: language_level=3
"""New clients."""
from lb._ext.state cimport engine_t, listening_t
from lb._ext.table cimport table_t

# A listening socket is readable: accepts a bounded batch, or pauses it for want of room.
cdef void welcome(engine_t* e, listening_t* here) noexcept nogil
# Takes a listening socket out of the epoll set until there may be room again.
cdef void pause(engine_t* e, listening_t* here) noexcept nogil
# Puts paused ones back where there is room, or where the token is due for which they wait.
cdef void resume_paused(engine_t* e) noexcept nogil
# Before another snapshot is swapped in: tokens that are held at another rate than its are returned.
cdef void settle_tokens(engine_t* e, const table_t* coming) noexcept nogil
