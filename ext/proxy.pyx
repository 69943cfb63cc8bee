# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""PROXY headers, read. Bytes in, values out: no socket here.

Facts
  1  A header names another client than the socket's only if it says TCP4 or TCP6 (v1), or PROXY with a known
     family over a stream (v2). UNKNOWN and UNSPEC leave the socket's own addresses, and what stands behind
     them is skipped unread; of LOCAL even the family is (2.2: "must discard the protocol block").
  2  Values that the protocol reserves are refused, as it demands; so are datagrams, since this is a stream.
  3  Every TLV must lie within the header, and those of an SSL TLV within it; a CRC32C must be right. Of TLVs
     that come twice the last one holds.
"""
from libc.stdint cimport uint16_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcmp, memcpy, memset

from lb._ext.linux cimport *

cdef enum:
    V1_SIGNATURE_BYTES = 6
    WORD_BYTES_MAX = 45         # the longest address: an IPv6 one that ends in an IPv4 one
    PORT_DIGITS_MAX = 5
    ZERO = 0x30
    SSL_HEAD_BYTES = 5
    CRC_BYTES = 4
    LOCAL_COMMAND = 0
    PROXY_COMMAND = 1
    FAMILIES = 4                # UNSPEC, INET, INET6, UNIX
    TRANSPORT_UNSPEC = 0
    TRANSPORT_STREAM = 1

cdef const char* V1_SIGNATURE = b"PROXY "
V2_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
cdef uint32_t[FAMILIES] ADDRESSES_BYTES
ADDRESSES_BYTES[:] = [0, 12, 36, 216]

cdef uint32_t[16] CRC_OF_NIBBLE  # of the reflected Castagnoli polynomial, 0x82F63B78
CRC_OF_NIBBLE[:] = [
    0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
    0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
]


cdef likeness_t compare_signature(const char* data, uint32_t at, uint32_t size) noexcept nogil:
    cdef likeness_t found = compare(V1_SIGNATURE, V1_SIGNATURE_BYTES, data, at, size)
    return found if found != SIGNATURE_NOT else compare(V2_SIGNATURE, SIGNATURE_BYTES_MAX, data, at, size)


cdef likeness_t compare(const char* signature, uint32_t length, const char* data, uint32_t at,
                        uint32_t size) noexcept nogil:
    if at >= length or memcmp(signature + at, data, min(size, length - at)):
        return SIGNATURE_NOT
    return SIGNATURE_WHOLE if size >= length - at else SIGNATURE_PART


cdef reading_t read_proxy(const char* data, uint32_t size, proxied_t* out) noexcept nogil:
    cdef likeness_t found = compare_signature(data, 0, size)
    memset(out, 0, sizeof(proxied_t))
    if found == SIGNATURE_NOT:
        return PROXY_BAD
    if found == SIGNATURE_PART:
        return PROXY_MORE
    if data[0] == b"P":
        return read_v1(data, size, out)
    return read_v2(<const uint8_t*>data, size, out)


# ---- Version 1: a line of text ----------------------------------------------------------------------

cdef reading_t read_v1(const char* data, uint32_t size, proxied_t* out) noexcept nogil:
    cdef const char* at = data + V1_SIGNATURE_BYTES
    cdef const char* end = <const char*>memchr(data, b"\n", min(size, <uint32_t>V1_BYTES_MAX))
    if end == NULL:
        return PROXY_MORE if size < V1_BYTES_MAX else PROXY_BAD
    out.size = <uint32_t>(end - data) + 1
    end -= 1
    if end[0] != b"\r":
        return PROXY_BAD
    if end - at >= 7 and memcmp(at, b"UNKNOWN", 7) == 0 and (end - at == 7 or at[7] == b" "):
        return PROXY_READ
    if end - at < 4 or memcmp(at, b"TCP", 3) or (at[3] != b"4" and at[3] != b"6"):
        return PROXY_BAD
    out.named = read_line(at + 4, end, AF_INET if at[3] == b"4" else AF_INET6, out)
    return PROXY_READ if out.named else PROXY_BAD


cdef bint read_line(const char* at, const char* end, int family, proxied_t* out) noexcept nogil:
    """Two addresses and two ports, each behind exactly one space."""
    return (read_address(&at, end, family, &out.client) and read_address(&at, end, family, &out.destination)
            and read_port(&at, end, &out.client) and read_port(&at, end, &out.destination) and at == end)


cdef bint read_word(const char** at, const char* end, char* word) noexcept nogil:
    """Copies the word that follows a space, ended by a zero."""
    cdef uint32_t size = 0
    if at[0] == end or at[0][0] != b" ":
        return False
    at[0] += 1
    while at[0] < end and at[0][0] != b" ":
        if size == WORD_BYTES_MAX or at[0][0] == 0:
            return False
        word[size] = at[0][0]
        size += 1
        at[0] += 1
    word[size] = 0
    return size > 0


cdef bint read_address(const char** at, const char* end, int family, address_t* out) noexcept nogil:
    cdef char[WORD_BYTES_MAX + 1] word
    if not read_word(at, end, word):
        return False
    out.any.sa_family = <unsigned short>family
    if family == AF_INET:
        return inet_pton(AF_INET, word, &out.v4.sin_addr) == 1
    return inet_pton(AF_INET6, word, &out.v6.sin6_addr) == 1


cdef bint read_port(const char** at, const char* end, address_t* out) noexcept nogil:
    """Decimal, without leading zeros (2.1)."""
    cdef char[WORD_BYTES_MAX + 1] word
    cdef uint32_t port = 0
    cdef int i = 0
    if not read_word(at, end, word) or (word[0] == b"0" and word[1] != 0):
        return False
    while word[i] != 0:
        if i == PORT_DIGITS_MAX or word[i] < b"0" or word[i] > b"9":
            return False
        port = port * 10 + <uint32_t>word[i] - ZERO
        i += 1
    if port > 65535:
        return False
    set_port(out, htons(<uint16_t>port))
    return True


cdef void set_port(address_t* out, uint16_t port) noexcept nogil:
    if out.any.sa_family == AF_INET:
        out.v4.sin_port = port
    else:
        out.v6.sin6_port = port


# ---- Version 2: binary ------------------------------------------------------------------------------

cdef reading_t read_v2(const uint8_t* data, uint32_t size, proxied_t* out) noexcept nogil:
    cdef uint32_t body, family, transport
    if size < V2_HEAD_BYTES:
        return PROXY_MORE
    body = <uint32_t>data[14] << 8 | data[15]
    out.size = V2_HEAD_BYTES + body
    if data[12] >> 4 != 2 or data[12] & 15 > PROXY_COMMAND or body > V2_BODY_BYTES_MAX:
        return PROXY_BAD
    if data[12] & 15 == LOCAL_COMMAND:
        return PROXY_READ if size >= out.size else PROXY_MORE
    family, transport = data[13] >> 4, data[13] & 15
    if family >= FAMILIES or transport > TRANSPORT_STREAM:
        return PROXY_BAD
    if transport == TRANSPORT_UNSPEC:
        family = 0
    if body < ADDRESSES_BYTES[family]:
        return PROXY_BAD
    if size < out.size:
        return PROXY_MORE
    if family == 0:
        return PROXY_READ
    out.named = 1
    read_addresses(data + V2_HEAD_BYTES, family, out)
    return PROXY_READ if read_tlvs(data, V2_HEAD_BYTES + ADDRESSES_BYTES[family], out) else PROXY_BAD


cdef void read_addresses(const uint8_t* at, uint32_t family, proxied_t* out) noexcept nogil:
    if family == 1:
        out.client.any.sa_family = out.destination.any.sa_family = AF_INET
        memcpy(&out.client.v4.sin_addr, at, 4)
        memcpy(&out.destination.v4.sin_addr, at + 4, 4)
        memcpy(&out.client.v4.sin_port, at + 8, 2)
        memcpy(&out.destination.v4.sin_port, at + 10, 2)
    elif family == 2:
        out.client.any.sa_family = out.destination.any.sa_family = AF_INET6
        memcpy(&out.client.v6.sin6_addr, at, 16)
        memcpy(&out.destination.v6.sin6_addr, at + 16, 16)
        memcpy(&out.client.v6.sin6_port, at + 32, 2)
        memcpy(&out.destination.v6.sin6_port, at + 34, 2)
    else:
        out.client.any.sa_family = out.destination.any.sa_family = AF_UNIX


cdef bint read_tlvs(const uint8_t* data, uint32_t at, proxied_t* out) noexcept nogil:
    cdef uint32_t size
    while at < out.size:  # each takes TLV_HEAD_BYTES at least
        if out.size - at < TLV_HEAD_BYTES:
            return False
        size = <uint32_t>data[at + 1] << 8 | data[at + 2]
        if size > out.size - at - TLV_HEAD_BYTES:
            return False
        if not read_tlv(data, at + TLV_HEAD_BYTES, size, data[at], out):
            return False
        at += TLV_HEAD_BYTES + size
    return True


cdef bint read_tlv(const uint8_t* data, uint32_t at, uint32_t size, int kind, proxied_t* out) noexcept nogil:
    cdef run_t value
    value.data, value.size = <const char*>data + at, size
    if kind == TLV_ALPN:
        out.alpn = value
    elif kind == TLV_AUTHORITY:
        out.authority = value
    elif kind == TLV_UNIQUE_ID:
        out.unique_id = value
        return size <= UNIQUE_ID_BYTES_MAX
    elif kind == TLV_CRC32C:
        return size == CRC_BYTES and crc32c(data, out.size, at) == (
            <uint32_t>data[at] << 24 | <uint32_t>data[at + 1] << 16
            | <uint32_t>data[at + 2] << 8 | <uint32_t>data[at + 3])
    elif kind == TLV_SSL:
        return size >= SSL_HEAD_BYTES and fills(data + at + SSL_HEAD_BYTES, size - SSL_HEAD_BYTES)
    return True


cdef bint fills(const uint8_t* data, uint32_t size) noexcept nogil:
    """Whether TLVs fill a stretch exactly."""
    cdef uint32_t at = 0
    while size - at >= TLV_HEAD_BYTES:
        at += TLV_HEAD_BYTES + (<uint32_t>data[at + 1] << 8 | data[at + 2])
        if at > size:
            return False
    return at == size


cdef uint32_t crc32c(const uint8_t* data, uint32_t size, uint32_t hole) noexcept nogil:
    """Of a header whose checksum, the four bytes at `hole`, counts as zeros (2.2.3)."""
    cdef uint32_t crc = 0xFFFFFFFF
    cdef uint32_t i
    for i in range(size):
        if i < hole or i >= hole + CRC_BYTES:
            crc ^= data[i]
        crc = CRC_OF_NIBBLE[crc & 15] ^ (crc >> 4)
        crc = CRC_OF_NIBBLE[crc & 15] ^ (crc >> 4)
    return crc ^ <uint32_t>0xFFFFFFFF


# ---- For tests --------------------------------------------------------------------------------------

def parse(bytes data) -> dict | None:
    """What the header at the start of `data` says; None: it is incomplete. Raises ValueError for none.

    `client` and `destination` are (host, port), ("unix", 0), or None where the header names nobody.
    """
    cdef proxied_t found
    cdef uint32_t size = len(data)
    cdef char* exact = <char*>malloc(max(size, 1))  # of its size, so that a sanitizer sees a read beyond it
    cdef reading_t outcome
    if exact == NULL:
        raise MemoryError
    try:
        memcpy(exact, <const char*>data, size)
        outcome = read_proxy(exact, size, &found)
        if outcome == PROXY_MORE:
            return None
        if outcome == PROXY_BAD:
            raise ValueError("not a PROXY header")
        return {
            "size": found.size,
            "client": told(&found.client) if found.named else None,
            "destination": told(&found.destination) if found.named else None,
            "authority": bytes_of(found.authority),
            "alpn": bytes_of(found.alpn),
            "unique_id": bytes_of(found.unique_id),
        }
    finally:
        free(exact)


cdef object told(const address_t* address):
    cdef char[INET6_ADDRSTRLEN] text
    if address.any.sa_family == AF_UNIX:
        return "unix", 0
    if address.any.sa_family == AF_INET:
        inet_ntop(AF_INET, &address.v4.sin_addr, text, sizeof(text))
    else:
        inet_ntop(AF_INET6, &address.v6.sin6_addr, text, sizeof(text))
    return (<bytes>text).decode(), ntohs(address.v4.sin_port)  # where an IPv6 address has it, too


cdef object bytes_of(run_t run):
    return None if run.data == NULL else run.data[:run.size]
