# cython: language_level=3
"""How long a session may go on: its age, its quiet, and peers that answer no more."""
from lb._ext.state cimport engine_t, session_t

# The entry of a RELAYING session is due and out of the wheel: judges, and sets the next. False: the session
# is no longer RELAYING.
cdef bint check_deadlines(engine_t* e, session_t* s) noexcept nogil
