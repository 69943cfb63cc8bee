"""How much still waits at a listening socket: handshakes under way, and connections nobody accepted yet.

The accept queue is counted by TCP_INFO of the socket itself. Handshakes are seen by NETLINK_SOCK_DIAG, and
there by local address, not by socket: of a group that goes on, one remembers which were under way when the
socket was steered away from, and waits until none of those is left. One look walks every TCP socket of the
machine (10 ms with a table of 262144 entries), so it is made off the loop and shared: lb/shell/lookout.py.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lb.model.address import Address

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST_DUMP = 0x001 | 0x300
TCP_SYN_RECV = 3

MESSAGE_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
REQUEST = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2: family, protocol, extensions, states, any id
ANSWER = struct.Struct("!B3xHH16s16s")  # the head of struct inet_diag_msg: family, ports, addresses

UNACKED_OFFSET = 24  # struct tcp_info: 8 bytes of flags, four words, then tcpi_unacked
REPLY_BYTES = 256 * 1024  # the kernel fills at most 32 KiB of a dump per read
REPLY_TIMEOUT_S = 1.0  # a dump is produced by the read itself: this only guards against a kernel without it


class Handshake(NamedTuple):
    """A connection in SYN_RECV. Hosts are packed: 4 bytes, or 16."""

    host: bytes
    port: int
    peer_host: bytes
    peer_port: int


def accept_queue(sock: socket.socket) -> int:
    """Connections that wait in the accept queue of a listening socket."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED_OFFSET + 4)
    return int.from_bytes(info[UNACKED_OFFSET:], sys.byteorder)


def handshakes() -> frozenset[Handshake]:
    """All that are under way on this machine."""
    for look in (handshakes_by_netlink, handshakes_by_proc):
        with suppress(OSError):  # a sandbox without this netlink family, a kernel without inet_diag
            return look()
    return frozenset()  # and without /proc: then only the accept queue tells


def at(address: Address, found: Iterable[Handshake]) -> frozenset[Handshake]:
    """Those with a listener at `address`; a wildcard address is any address of its family."""
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    host = socket.inet_pton(family, address.host.partition("%")[0])
    return frozenset(
        one
        for one in found
        if one.port == address.port
        and len(one.host) == len(host)
        and (address.is_wildcard or one.host == host)
    )


def handshakes_by_netlink() -> frozenset[Handshake]:
    found = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(REPLY_TIMEOUT_S)
        for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_SYN_RECV)
            length = MESSAGE_HEADER.size + len(request)
            head = MESSAGE_HEADER.pack(length, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
            netlink.sendto(head + request, (0, 0))
            for payload in dump(netlink):
                _, port, peer_port, host, peer_host = ANSWER.unpack_from(payload)
                found.add(Handshake(host[:size], port, peer_host[:size], peer_port))
    return frozenset(found)


def dump(netlink: socket.socket) -> Iterator[bytes]:
    """The payloads of one dump, to its end. Raises OSError."""
    while True:
        reply = netlink.recv(REPLY_BYTES)
        offset = 0
        while offset < len(reply):
            length, kind, _, _, _ = MESSAGE_HEADER.unpack_from(reply, offset)
            payload = reply[offset + MESSAGE_HEADER.size : offset + length]
            if kind == NLMSG_DONE:
                return
            if kind == NLMSG_ERROR:
                raise OSError(-struct.unpack_from("=i", payload)[0], "sock_diag refused")
            yield payload
            offset += (length + 3) & ~3


def handshakes_by_proc() -> frozenset[Handshake]:
    """The same from /proc/net, whose tables have a line for every TCP socket: slow on a busy machine."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if not table.exists():  # no IPv6 here
            continue
        for line in table.read_text(encoding="ascii").splitlines()[1:]:
            _, here, there, state = line.split(maxsplit=4)[:4]
            if int(state, 16) == TCP_SYN_RECV:
                found.add(Handshake(*proc_address(here), *proc_address(there)))
    return frozenset(found)


def proc_address(text: str) -> tuple[bytes, int]:
    """`0100007F:1F90`: each 32-bit word of the address is a number in host order."""
    host, _, port = text.partition(":")
    words = (int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8))
    return b"".join(words), int(port, 16)
