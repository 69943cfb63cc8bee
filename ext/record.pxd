# cython: language_level=3
"""A session's one line in the access log."""
from lb._ext.state cimport engine_t, session_t

# Asks the kernel for the session's own addresses, while its descriptors are open. Nothing without a log.
cdef void note_addresses(engine_t* e, session_t* s) noexcept nogil
# Puts the line into the ring, unless it is not in the sample; a full ring drops it. Both are counted. The
# session's reason and closer are set, and its descriptors open.
cdef void put_record(engine_t* e, session_t* s) noexcept nogil
