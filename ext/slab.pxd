# cython: language_level=3
"""Slots, blocks, pipes and details: each is taken here and given back here, and counted both ways."""
from lb._ext.state cimport block_t, details_t, engine_t, pipe_t, session_t

# NULL when all slots are in use. A taken slot has both descriptors -1 and nothing kept.
cdef session_t* take_slot(engine_t* e) noexcept nogil
cdef void give_slot(engine_t* e, session_t* s) noexcept nogil
# NULL without memory.
cdef block_t* take_block(engine_t* e) noexcept nogil
cdef void give_block(engine_t* e, block_t* block) noexcept nogil
# NULL when there are as many as there may be, or no descriptors: then bytes are copied.
cdef pipe_t* take_pipe(engine_t* e) noexcept nogil
# A pipe with bytes left in it is closed; the next session must not get them.
cdef void give_pipe(engine_t* e, pipe_t* pipe) noexcept nogil
# NULL without memory. All zeros.
cdef details_t* take_details(engine_t* e) noexcept nogil
cdef void give_details(engine_t* e, details_t* details) noexcept nogil
cdef void free_spares(engine_t* e) noexcept nogil
