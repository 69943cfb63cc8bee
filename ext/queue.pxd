# cython: language_level=3
"""Waiting for room at an endpoint: first come, first served, over all workers.

A session that waits holds a ticket of its pool; each worker shows its lowest one on the scoreboard. Only the
lowest of all may take room that is made.
"""
from libc.stdint cimport uint32_t

from lb._ext.state cimport engine_t, session_t
from lb._ext.table cimport pool_t

# Whether somebody waits for this pool, in any worker: then whoever comes must not overtake.
cdef bint somebody_waits(engine_t* e, uint32_t pool) noexcept nogil
# False: the queue is full, or the pool has none. The session's state is QUEUED then, with its deadline.
cdef bint enqueue(engine_t* e, session_t* s, const pool_t* pool) noexcept nogil
cdef void leave_queue(engine_t* e, session_t* s) noexcept nogil
# A session of this worker whose turn it is and for which there may be room, out of its queue; NULL: none.
cdef session_t* next_served(engine_t* e) noexcept nogil
