# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""Introducing a client to its endpoint. The header is the first thing that a connection gets, and nothing of
the client was consumed before: if it cannot be sent, another endpoint gets the client with its header.

Facts
  1  A fresh socket has room for a header. One that takes only a part of it is treated as one that failed.
  2  MSG_MORE without bytes that follow would hold the header back for 200 ms: it is set only if some wait.

Rejected: handing on TLVs that are not understood here. What a vendor's TLV says is true of its own place in
the chain of proxies. The protocols that a client offers by ALPN: the TLV names the one in use, which only
the endpoint will choose; so it is sent where one alone was offered, or where the header before had it.
"""
from libc.stdint cimport uint8_t, uint16_t
from libc.stdio cimport snprintf
from libc.string cimport memcpy, memset

from lb._ext.linux cimport *
from lb._ext.proxy cimport (
    SIGNATURE_BYTES_MAX, TLV_ALPN, TLV_AUTHORITY, TLV_HEAD_BYTES, TLV_UNIQUE_ID, UNIQUE_ID_BYTES_MAX,
    V2_HEAD_BYTES, V2_SIGNATURE,
)
from lb._ext.state cimport *

cdef enum:
    VERSION_2_PROXY = 0x21
    UNSPEC = 0x00
    TCP_OVER_IPV4 = 0x11
    TCP_OVER_IPV6 = 0x21


cdef int introduce(session_t* s) noexcept nogil:
    cdef char[INTRODUCTION_BYTES_MAX] header
    cdef uint32_t size = write_header(s, header)
    cdef int more = MSG_MORE if s.acknowledges_late or client_waits(s) else 0
    cdef ssize_t taken = send(s.side[UPSTREAM].fd, header, size, MSG_NOSIGNAL | more)
    if taken == size:
        return 0
    return errno if taken == -1 else ENOBUFS


cdef bint client_waits(const session_t* s) noexcept nogil:
    """Whether bytes of the client will follow at once."""
    cdef int waiting = 0
    if not s.side[CLIENT].flags & READABLE:
        return False
    return ioctl(s.side[CLIENT].fd, FIONREAD, &waiting) == 0 and waiting > 0


cdef uint32_t write_header(const session_t* s, char* out) noexcept nogil:
    cdef address_t destination
    cdef socklen_t size = sizeof(destination)
    cdef run_t name, protocol, unique_id
    cdef opening_t* opening
    memset(&destination, 0, sizeof(destination))
    memset(&name, 0, sizeof(name))
    protocol = unique_id = name
    if s.details != NULL and s.details.destination.any.sa_family:
        destination = s.details.destination
    else:
        getsockname(s.side[CLIENT].fd, &destination.any, &size)
    if s.introduction == 1:
        return write_v1(out, &s.client, &destination)
    if s.details != NULL:
        name.data, name.size = s.details.name, s.details.name_size
    if s.opening != NULL:
        opening = <opening_t*>s.opening.data
        protocol.data, protocol.size = opening.alpn, opening.alpn_size
        unique_id.data, unique_id.size = opening.unique_id, opening.unique_id_size
    return write_v2(out, &s.client, &destination, name, protocol, unique_id)


# ---- Addresses --------------------------------------------------------------------------------------

cdef int common_family(const address_t* client, const address_t* destination) noexcept nogil:
    """AF_INET, AF_INET6, or 0. A header has one family for both: IPv4 beside IPv6 is written as mapped."""
    cdef int one = client.any.sa_family
    cdef int other = destination.any.sa_family
    if (one != AF_INET and one != AF_INET6) or (other != AF_INET and other != AF_INET6):
        return 0
    return AF_INET if one == AF_INET and other == AF_INET else AF_INET6


cdef uint32_t put_host(uint8_t* out, const address_t* address, int family) noexcept nogil:
    """Its bytes as of this family; returns how many."""
    if family == AF_INET:
        memcpy(out, &address.v4.sin_addr, 4)
        return 4
    if address.any.sa_family == AF_INET6:
        memcpy(out, &address.v6.sin6_addr, 16)
        return 16
    memset(out, 0, 10)
    out[10] = out[11] = 0xFF
    memcpy(out + 12, &address.v4.sin_addr, 4)
    return 16


cdef uint16_t port_of(const address_t* address) noexcept nogil:
    return address.v4.sin_port if address.any.sa_family == AF_INET else address.v6.sin6_port


# ---- Headers ----------------------------------------------------------------------------------------

cdef uint32_t write_v1(char* out, const address_t* client, const address_t* destination) noexcept nogil:
    cdef char[INET6_ADDRSTRLEN] source
    cdef char[INET6_ADDRSTRLEN] target
    cdef uint8_t[16] host
    cdef int family = common_family(client, destination)
    if family == 0:
        return <uint32_t>snprintf(out, INTRODUCTION_BYTES_MAX, "PROXY UNKNOWN\r\n")
    put_host(host, client, family)
    inet_ntop(family, host, source, sizeof(source))
    put_host(host, destination, family)
    inet_ntop(family, host, target, sizeof(target))
    return <uint32_t>snprintf(
        out, INTRODUCTION_BYTES_MAX, "PROXY TCP%d %s %s %u %u\r\n", <int>(4 if family == AF_INET else 6),
        <const char*>source, <const char*>target, <unsigned int>ntohs(port_of(client)),
        <unsigned int>ntohs(port_of(destination)))


cdef uint32_t write_v2(char* out, const address_t* client, const address_t* destination,
                       run_t name, run_t protocol, run_t unique_id) noexcept nogil:
    cdef uint8_t* data = <uint8_t*>out
    cdef uint16_t ports[2]
    cdef uint32_t size = V2_HEAD_BYTES
    cdef int family = common_family(client, destination)
    memcpy(data, V2_SIGNATURE, SIGNATURE_BYTES_MAX)
    data[12] = VERSION_2_PROXY
    data[13] = TCP_OVER_IPV4 if family == AF_INET else TCP_OVER_IPV6 if family == AF_INET6 else UNSPEC
    if family:
        size += put_host(data + size, client, family)
        size += put_host(data + size, destination, family)
        ports[0], ports[1] = port_of(client), port_of(destination)
        memcpy(data + size, ports, sizeof(ports))
        size += sizeof(ports)
    size += put_tlv(data + size, TLV_ALPN, protocol)
    size += put_tlv(data + size, TLV_AUTHORITY, name)
    size += put_tlv(data + size, TLV_UNIQUE_ID, unique_id)
    data[14], data[15] = (size - V2_HEAD_BYTES) >> 8, (size - V2_HEAD_BYTES) & 255
    return size


cdef uint32_t put_tlv(uint8_t* out, int kind, run_t value) noexcept nogil:
    if value.size == 0:
        return 0
    out[0], out[1], out[2] = kind, value.size >> 8, value.size & 255
    memcpy(out + TLV_HEAD_BYTES, value.data, value.size)
    return TLV_HEAD_BYTES + value.size


# ---- For tests --------------------------------------------------------------------------------------

def build(int version, client, destination, *, bytes name=b"", bytes protocol=b"",
          bytes unique_id=b"") -> bytes:
    """The header for these addresses: (host, port), or None for what is of no IP family."""
    cdef address_t source, target
    cdef char[INTRODUCTION_BYTES_MAX] out
    cdef uint32_t size
    if max(len(name), len(protocol)) > NAME_BYTES_MAX or len(unique_id) > UNIQUE_ID_BYTES_MAX:
        raise ValueError("a value is longer than is ever written")
    put_told(&source, client)
    put_told(&target, destination)
    if version == 1:
        size = write_v1(out, &source, &target)
    else:
        size = write_v2(out, &source, &target, run_of(name), run_of(protocol), run_of(unique_id))
    return out[:size]


cdef int put_told(address_t* out, where) except -1:
    memset(out, 0, sizeof(address_t))
    if where is None:
        return 0
    host, port = where
    data = host.encode()
    if ":" in host:
        out.v6.sin6_family, out.v6.sin6_port = AF_INET6, htons(port)
        found = inet_pton(AF_INET6, <const char*><bytes>data, &out.v6.sin6_addr)
    else:
        out.v4.sin_family, out.v4.sin_port = AF_INET, htons(port)
        found = inet_pton(AF_INET, <const char*><bytes>data, &out.v4.sin_addr)
    if found != 1:
        raise ValueError(f"{host} is not an address")
    return 0


cdef run_t run_of(bytes data) except *:
    cdef run_t run
    run.data, run.size = <const char*>data, <uint32_t>len(data)
    return run
