# cython: language_level=3
"""Waiting for room at an endpoint: first come, first served, over all workers.

A session that waits holds a ticket of its pool; each worker shows its lowest one on the scoreboard. Only the
lowest of all may take room that is made, except for those that had their turn already.
"""
from libc.stdint cimport uint32_t

from lb._ext.state cimport engine_t, session_t
from lb._ext.table cimport pool_t

# Whether somebody waits for this pool, in any worker: then whoever comes must not overtake.
cdef bint somebody_waits(engine_t* e, uint32_t pool) noexcept nogil
# False: the queue is full, or the pool has none. Else the session is QUEUED, with its deadline. One that has
# made an attempt had its turn: it waits before those that had none.
cdef bint enqueue(engine_t* e, session_t* s, const pool_t* pool) noexcept nogil
# Its state is CONNECTING then; the deadline stays.
cdef void leave_queue(engine_t* e, session_t* s) noexcept nogil
# The first of this worker's fresh ones, if it is its turn, or if there is nothing to wait for; QUEUED still,
# and for connect_somewhere(). NULL: none.
cdef session_t* next_served(engine_t* e, uint32_t pool) noexcept nogil
