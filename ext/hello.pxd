# cython: language_level=3
"""The TLS ClientHello: which server a client wants, which protocols it speaks (RFC 8446, 6066, 7301)."""
from libc.stdint cimport uint32_t

from lb._ext.proxy cimport run_t

cdef enum hello_reading_t:
    HELLO_READ                  # it is whole; what it does not say has no bytes
    HELLO_MORE                  # so far it is one
    HELLO_NONE                  # it is none, or is damaged

cdef struct hello_t:
    # Its runs lie in the bytes that were read.
    run_t name                  # any bytes
    run_t protocols             # of ALPN, each behind a byte with its length

# Reads the ClientHello at the start of `data`, and moves those bytes: records leave, their contents join.
cdef hello_reading_t read_hello(char* data, uint32_t size, hello_t* out) noexcept nogil
# The one protocol that the client offers. Of several the endpoint chooses, so none is known.
cdef run_t sole_protocol(const hello_t* hello) noexcept nogil
# Writes a host name in lower case and returns its size. 0: it is none, or has other characters than letters,
# digits, dots, hyphens and underscores, or more than NAME_BYTES_MAX.
cdef uint32_t put_name(char* out, run_t name) noexcept nogil
