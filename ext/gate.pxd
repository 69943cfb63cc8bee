# cython: language_level=3
"""Who is let in: lists of networks, token buckets, sessions per source."""
from libc.stdint cimport uint32_t

from lb._ext.linux cimport address_t
from lb._ext.state cimport engine_t, listening_t, session_t
from lb._ext.table cimport listener_t, networks_t, table_t

# Whether the client (s.client, which is final now) is let in. -1, or the reason (REASON_REFUSED_...) why
# not; with dry_run such reasons are counted and it is let in. A session that is counted among those of its
# source has s.source set; leave_source() takes that back.
cdef int admit(engine_t* e, session_t* s, const listener_t* line) noexcept nogil
cdef void leave_source(engine_t* e, session_t* s) noexcept nogil
cdef bint is_in(const table_t* table, const networks_t* networks, const address_t* address) noexcept nogil

# ---- Of a listener as a whole: nobody is refused, the backlog waits -----------------------------------

# A token of the listener's rate_max, to be held for the next client. False: there is none now.
cdef bint take_token(engine_t* e, listening_t* here, const listener_t* line) noexcept nogil
# There is none, and a client waits: the next one is held for it; here.token_ns says when it is due.
cdef void book_token(engine_t* e, listening_t* here, const listener_t* line) noexcept nogil
# Nobody came for the token that is held, or the rate is another's now: as if it had never been taken.
cdef void return_token(engine_t* e, listening_t* here) noexcept nogil
# A dry run accepted somebody: counts which limit of the listener would have kept it waiting.
cdef void note_excess(engine_t* e, uint32_t listener, const listener_t* line) noexcept nogil
