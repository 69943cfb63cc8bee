# cython: language_level=3
"""The Python surface, for those within the extension that look behind it."""
from lb._ext.state cimport engine_t

cdef class Engine:
    cdef engine_t* e            # owned; NULL only while it is being made
    cdef dict places            # of listening sockets: the supervisor's number -> our index
