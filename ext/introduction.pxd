# cython: language_level=3
"""What an endpoint is told of a client before the client's own first byte: a PROXY header."""
from lb._ext.linux cimport address_t
from lb._ext.proxy cimport run_t
from lb._ext.state cimport engine_t, session_t
from libc.stdint cimport uint32_t

cdef enum:
    INTRODUCTION_BYTES_MAX = 768    # version 2, IPv6, with the longest name, protocol and id

# Sends the header of the session's version (s.introduction). 0, or the error for which nothing was sent that
# the endpoint could take for a session: then another may have it.
cdef int introduce(session_t* s) noexcept nogil
# Write a header and return its size; `out` has room for INTRODUCTION_BYTES_MAX. Addresses that are not both
# of an IP family give UNKNOWN and UNSPEC. A run without bytes is left out; a name and a protocol have at most
# 255, an id UNIQUE_ID_BYTES_MAX.
cdef uint32_t write_v1(char* out, const address_t* client, const address_t* destination) noexcept nogil
cdef uint32_t write_v2(char* out, const address_t* client, const address_t* destination,
                       run_t name, run_t protocol, run_t unique_id) noexcept nogil
