"""PROXY headers as somebody else reads and writes them: the package proxy-protocol, the oracle of ours.

What it says is brought into the form of lb._ext.proxy.parse(). The package is more lenient than the protocol
(haproxy's proxy-protocol.txt, whose sections are named here) and not quite right about checksums; DIFFERENCES
names every kind of header about which it and we may disagree.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Callable, Iterator
from socket import SOCK_STREAM
from typing import Any

import crc32c
from proxyprotocol import ProxyProtocolIncompleteError, ProxyProtocolSyntaxError
from proxyprotocol.result import (
    ProxyResult,
    ProxyResultIPv4,
    ProxyResultIPv6,
    ProxyResultType,
    ProxyResultUnix,
)
from proxyprotocol.tlv import ProxyProtocolTLV
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
LOCAL, PROXY = 0x20, 0x21
TCP4, TCP6, UNIX = 0x11, 0x21, 0x31
ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30
ADDRESSES_BYTES = {0: 0, 1: 12, 2: 36, 3: 216}

Host = tuple[str, int]
Told = dict[str, Any]
MORE, BAD = "more", "bad"  # in place of what a header says


# ---- Made by hand -----------------------------------------------------------------------------------


def v2(body: bytes = b"", *, command: int = PROXY, family: int = TCP4, size: int | None = None) -> bytes:
    """`size`: what the header says of its body, if that is to be a lie."""
    return SIGNATURE + struct.pack("!BBH", command, family, len(body) if size is None else size) + body


def addresses(client: Host, destination: Host) -> bytes:
    hosts = [ipaddress.ip_address(host).packed for host, _ in (client, destination)]
    return b"".join(hosts) + struct.pack("!HH", client[1], destination[1])


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def with_checksum(header: bytes) -> bytes:
    """A header of version 2 with a checksum as its last TLV."""
    whole = header[:14] + struct.pack("!H", len(header) - 16 + 7) + header[16:] + tlv(CRC32C, bytes(4))
    return whole[:-4] + struct.pack("!I", crc32c.crc32c(whole))


# ---- The oracle -------------------------------------------------------------------------------------


def theirs(data: bytes) -> Told | str:
    """What proxy-protocol says of the header at the start of `data`."""
    try:
        if ProxyProtocolV1().is_valid(data):
            line, end, _ = data.partition(b"\n")
            if not end:
                return MORE
            return _told(ProxyProtocolV1().unpack(line + end), len(line) + 1)
        if data[: len(SIGNATURE)] != SIGNATURE[: len(data)]:
            return MORE if b"PROXY ".startswith(data) else BAD
        if len(data) < 16:
            return MORE
        size = 16 + int.from_bytes(data[14:16], "big")
        return _told(ProxyProtocolV2().unpack(data[:size]), size)
    except ProxyProtocolIncompleteError:
        return MORE
    except (ProxyProtocolSyntaxError, ValueError, struct.error):
        return BAD


def _told(result: ProxyResult, size: int) -> Told:
    named = result.type in (ProxyResultType.IPv4, ProxyResultType.IPv6, ProxyResultType.UNIX)
    return {
        "size": size,
        "client": _host(result.source) if named else None,
        "destination": _host(result.dest) if named else None,
        "authority": result.tlv.get(AUTHORITY),
        "alpn": result.tlv.get(ALPN),
        "unique_id": result.tlv.get(UNIQUE_ID),
    }


def _host(address: Any) -> Host:
    if isinstance(address, str):
        return "unix", 0
    return str(address[0]), address[1]


def canonical(told: Told) -> Told:
    """Ours in the form of theirs: an address has several spellings."""

    def host(address: Host | None) -> Host | None:
        if address is None or address[0] == "unix":
            return address
        return str(ipaddress.ip_address(address[0])), address[1]

    return told | {"client": host(told["client"]), "destination": host(told["destination"])}


def theirs_v1(client: Host, destination: Host) -> bytes:
    return ProxyProtocolV1().pack(_result(client, destination, ProxyProtocolTLV()))


def theirs_v2(client: Host | str, destination: Host | str, tlvs: dict[int, bytes]) -> bytes:
    """Texts are paths of unix sockets. It always has a checksum."""
    given = ProxyProtocolTLV(init=tlvs)
    if isinstance(client, str) and isinstance(destination, str):
        return ProxyProtocolV2().pack(ProxyResultUnix(client, destination, protocol=SOCK_STREAM, tlv=given))
    return ProxyProtocolV2().pack(_result(client, destination, given))


def _result(client: Any, destination: Any, tlvs: ProxyProtocolTLV) -> ProxyResult:
    one, other = (ipaddress.ip_address(host) for host, _ in (client, destination))
    if isinstance(one, ipaddress.IPv4Address) and isinstance(other, ipaddress.IPv4Address):
        return ProxyResultIPv4((one, client[1]), (other, destination[1]), protocol=SOCK_STREAM, tlv=tlvs)
    assert isinstance(one, ipaddress.IPv6Address) and isinstance(other, ipaddress.IPv6Address)
    return ProxyResultIPv6((one, client[1]), (other, destination[1]), protocol=SOCK_STREAM, tlv=tlvs)


# ---- Where they may differ --------------------------------------------------------------------------


def _is_v1(data: bytes) -> bool:
    return data.startswith(b"PROXY ")


def _head(data: bytes) -> tuple[int, int, int, int] | None:
    """Command, family, transport and size of a body, of a header of version 2 whose head is there."""
    if not data.startswith(SIGNATURE) or len(data) < 16 or data[12] not in (LOCAL, PROXY):
        return None
    return data[12] & 15, data[13] >> 4, data[13] & 15, int.from_bytes(data[14:16], "big")


def _proxied(data: bytes) -> tuple[int, int, int] | None:
    """Family, transport, size; not of LOCAL."""
    head = _head(data)
    return head[1:] if head is not None and head[0] == 1 else None


def tlvs_of(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Those of a body of TLVs; a kind of -1 stands for what does not fit."""
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        if at + 3 + size > len(data):
            yield -1, data[at:]
            return
        yield data[at], data[at + 3 : at + 3 + size]
        at += 3 + size


def _tlvs(data: bytes) -> list[tuple[int, bytes]]:
    proxied = _proxied(data)
    if proxied is None or proxied[0] not in (1, 2, 3):
        return []
    return list(tlvs_of(data[16 + ADDRESSES_BYTES[proxied[0]] : 16 + proxied[2]]))


def _line(data: bytes) -> bytes:
    return data.partition(b"\n")[0]


def _odd_port(data: bytes) -> bool:
    words = _line(data).removesuffix(b"\r").split(b" ")
    return any(not re.fullmatch(rb"0|[1-9][0-9]{0,4}", word) for word in words[4:6])


def _kinds(data: bytes) -> list[int]:
    return [kind for kind, _ in _tlvs(data)]


Judge = Callable[[bytes], bool]
REFUSED_BY_US: dict[str, Judge] = {
    "2.1: a line has at most 107 bytes": lambda d: (
        (_is_v1(d) and len(_line(d)) + 1 > 107) or (_is_v1(d) and b"\n" not in d and len(d) >= 107)
    ),
    "2.1: a port is decimal, without sign, blank, underscore or leading zero": lambda d: (
        _is_v1(d) and _odd_port(d)
    ),
    "2.1: an address has no scope (RFC 4007)": lambda d: _is_v1(d) and b"%" in _line(d),
    "2.2: a reserved command is refused, and at once": lambda d: (
        d.startswith(SIGNATURE) and d[12:13] > b"\x21"
    ),
    "2.2: reserved families and transports must be refused": lambda d: (
        bool(p := _proxied(d)) and (p[0] > 3 or p[1] > 2)
    ),
    "datagrams do not come by a stream": lambda d: bool(p := _proxied(d)) and p[1] == 2,
    "ours: a body has at most 4096 bytes": lambda d: bool(h := _head(d)) and h[3] > 4096,
    "2.2: a body has room for its addresses": lambda d: (
        bool(p := _proxied(d)) and p[0] <= 3 and p[2] < ADDRESSES_BYTES[p[0]]
    ),
    "2.2.7: TLVs fill the body": lambda d: -1 in _kinds(d),
    "2.2.6: TLVs fill the SSL TLV": lambda d: any(
        kind == SSL and (len(value) < 5 or -1 in [inner for inner, _ in tlvs_of(value[5:])])
        for kind, value in _tlvs(d)
    ),
    "2.2.5: an id has at most 128 bytes": lambda d: any(
        kind == UNIQUE_ID and len(value) > 128 for kind, value in _tlvs(d)
    ),
}
ACCEPTED_BY_US: dict[str, Judge] = {
    "2.2: of LOCAL the body is discarded, checksum and all": lambda d: bool(h := _head(d)) and h[0] == 0,
    "2.2: a path is any bytes": lambda d: bool(p := _proxied(d)) and p[0] == 3 and not d[16:232].isascii(),
    "2.2.3: a checksum is of the bytes as they came, not of sorted TLVs": lambda d: (
        CRC32C in _kinds(d) and (_kinds(d) != sorted(_kinds(d)) or len(set(_kinds(d))) != len(_kinds(d)))
    ),
    "2.2: of UNSPEC the body is skipped": lambda d: bool(p := _proxied(d)) and p[1] == 0,
}
TOLD_OTHERWISE: dict[str, Judge] = {
    "2.2: of LOCAL the body is discarded": lambda d: bool(h := _head(d)) and h[0] == 0,
    "2.2: over an unspecified transport the socket's own addresses hold": lambda d: (
        bool(p := _proxied(d)) and p[1] == 0
    ),
}


def difference(data: bytes, ours: Told | str, others: Told | str) -> str:
    """Why the two verdicts on `data` differ; empty: for no reason that is known."""
    if ours == BAD:
        judges = REFUSED_BY_US
    elif others == BAD:
        judges = ACCEPTED_BY_US
    elif MORE in (ours, others):
        judges = {}
    else:
        judges = TOLD_OTHERWISE
    return next((name for name, judge in judges.items() if judge(data)), "")
