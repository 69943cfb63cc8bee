# cython: language_level=3
"""Which endpoint a client belongs to: source_hash and maglev."""
from libc.stdint cimport uint32_t, uint64_t

from lb._ext.state cimport engine_t, session_t
from lb._ext.table cimport pool_t

# As pick(): an endpoint id, PICK_FULL or PICK_NONE. The session's hash is worked out at its first call.
cdef uint32_t pick_by_hash(engine_t* e, const pool_t* pool, session_t* s) noexcept nogil
# Of what the pool hashes on.
cdef uint64_t client_hash(const pool_t* pool, const session_t* s) noexcept nogil
