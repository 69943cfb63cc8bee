# cython: language_level=3
"""The PROXY protocol, versions 1 and 2: how one proxy tells the next who the client is.

Sections named here and in proxy.pyx are those of HAProxy's proxy-protocol.txt, which defines it.
"""
from libc.stdint cimport uint8_t, uint32_t

from lb._ext.linux cimport address_t

cdef enum:
    V1_BYTES_MAX = 107          # with its CR LF (2.1)
    V2_HEAD_BYTES = 16
    V2_BODY_BYTES_MAX = 4096    # addresses and TLVs; the field has room for 65535, nobody needs it
    PROXY_BYTES_MAX = V2_HEAD_BYTES + V2_BODY_BYTES_MAX
    SIGNATURE_BYTES_MAX = 12
    TLV_HEAD_BYTES = 3
    UNIQUE_ID_BYTES_MAX = 128   # (2.2.5)

cdef enum:                      # types of TLVs (2.2)
    TLV_ALPN = 0x01
    TLV_AUTHORITY = 0x02
    TLV_CRC32C = 0x03
    TLV_UNIQUE_ID = 0x05
    TLV_SSL = 0x20

cdef const char* V2_SIGNATURE   # SIGNATURE_BYTES_MAX of them

cdef enum likeness_t:
    SIGNATURE_NOT
    SIGNATURE_PART              # so far
    SIGNATURE_WHOLE

cdef enum reading_t:
    PROXY_READ
    PROXY_MORE                  # so far it is one
    PROXY_BAD

cdef struct run_t:
    const char* data            # NULL: there is none
    uint32_t size

cdef struct proxied_t:
    # What a header said. Its runs lie in the bytes that were read.
    uint32_t size               # of the header
    uint8_t named               # client and destination are set; else the socket's own addresses hold
    address_t client            # its family may be AF_UNIX: then that is all that is known
    address_t destination
    run_t authority             # any bytes
    run_t alpn                  # any bytes
    run_t unique_id             # any bytes, at most UNIQUE_ID_BYTES_MAX

# Whether a stream's bytes from `at` on are those of a header's signature, all before them having been so.
cdef likeness_t compare_signature(const char* data, uint32_t at, uint32_t size) noexcept nogil
# Reads the header at the start of `data`. PROXY_BAD is said as early as it is certain.
cdef reading_t read_proxy(const char* data, uint32_t size, proxied_t* out) noexcept nogil
