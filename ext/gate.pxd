# cython: language_level=3
"""Who is let in: lists of networks, token buckets, sessions per source."""
from libc.stdint cimport uint32_t

from lb._ext.linux cimport address_t
from lb._ext.state cimport engine_t, session_t
from lb._ext.table cimport listener_t, networks_t, table_t

# Whether the client (s.client, which is final now) is let in. -1, or the reason (REASON_REFUSED_...) why
# not; with dry_run such reasons are counted and it is let in. A session that is counted among those of its
# source has s.source set; leave_source() takes that back.
cdef int admit(engine_t* e, session_t* s, const listener_t* line) noexcept nogil
cdef void leave_source(engine_t* e, session_t* s) noexcept nogil
# Whether the listener's rate_max has no token now: then nobody is accepted.
cdef bint is_paced(engine_t* e, uint32_t listener) noexcept nogil
cdef bint is_in(const table_t* table, const networks_t* networks, const address_t* address) noexcept nogil
