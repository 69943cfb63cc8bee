# cython: language_level=3
"""Which endpoint a session goes to: a bounded look-up in the snapshot and the scoreboard."""
from libc.stdint cimport uint32_t

from lb._ext.state cimport engine_t, session_t
from lb._ext.table cimport pool_t

cdef enum:
    PICK_NONE = 0xFFFFFFFF      # nothing is eligible that this session has not tried
    PICK_FULL = 0xFFFFFFFE      # what is eligible has no room

# An endpoint id, or one of the above. Takes nothing: the caller counts the session. Of the session it reads
# the client, the name and what was tried; a hashing policy keeps the hash there.
cdef uint32_t pick(engine_t* e, const pool_t* pool, session_t* s) noexcept nogil
# A lot, not a secret.
cdef uint32_t draw(engine_t* e) noexcept nogil
