"""How much still waits at a listening socket: handshakes under way, and connections nobody accepted yet.

The accept queue is counted by TCP_INFO of the socket itself. Handshakes are seen by NETLINK_SOCK_DIAG, and
there by local port, not by socket: of a group that goes on, one remembers which were under way when the
socket was steered away from, and waits until none of those is left.
"""

from __future__ import annotations

import socket
import struct
import sys
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
REQUEST = struct.Struct(
    "=BBBxI"
)  # struct inet_diag_req_v2 up to its socket id: family, protocol, ext, states
SOCKET_ID = struct.Struct("!HH16s16sI8s")  # struct inet_diag_sockid: ports, addresses, interface, cookie
ANSWER_ID_OFFSET = 4  # struct inet_diag_msg: family, state, timer, retransmits, then the socket id

UNACKED_OFFSET = 24  # struct tcp_info: 8 bytes of flags, four words, then tcpi_unacked
REPLY_BYTES = 256 * 1024  # the kernel fills at most 32 KiB of a dump per read
REPLY_TIMEOUT_S = 1.0  # a dump is produced by the read itself: this only guards against a kernel without it


class Peer(NamedTuple):
    """The far side of a handshake; `host` is packed."""

    host: bytes
    port: int


def accept_queue(sock: socket.socket) -> int:
    """Connections that wait in the accept queue of a listening socket."""
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED_OFFSET + 4)
    return int.from_bytes(info[UNACKED_OFFSET:], sys.byteorder)


def handshakes(address: Address) -> frozenset[Peer]:
    """Who is in SYN_RECV at this address. A wildcard address is any address of its family."""
    for look in (handshakes_by_netlink, handshakes_by_proc):
        with suppress(OSError):  # a sandbox without this netlink family, a kernel without inet_diag
            return look(address)
    return frozenset()  # and without /proc: then only the accept queue tells


def handshakes_by_netlink(address: Address) -> frozenset[Peer]:
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    local = socket.inet_pton(family, address.host.partition("%")[0])
    wanted = SOCKET_ID.pack(address.port, 0, b"", b"", 0, b"\xff" * 8)
    body = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_SYN_RECV) + wanted
    head = MESSAGE_HEADER.pack(MESSAGE_HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST_DUMP, 1, 0)
    found = set()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG) as netlink:
        netlink.settimeout(REPLY_TIMEOUT_S)
        netlink.sendto(head + body, (0, 0))
        for payload in dump(netlink):
            port, peer_port, here, peer, _, _ = SOCKET_ID.unpack_from(payload, ANSWER_ID_OFFSET)
            if port == address.port and (address.is_wildcard or here[: len(local)] == local):
                found.add(Peer(peer[: len(local)], peer_port))
    return frozenset(found)


def dump(netlink: socket.socket) -> list[bytes]:
    """The payloads of one dump, read to its end."""
    payloads: list[bytes] = []
    while True:
        reply = netlink.recv(REPLY_BYTES)
        offset = 0
        while offset < len(reply):
            length, kind, _, _, _ = MESSAGE_HEADER.unpack_from(reply, offset)
            payload = reply[offset + MESSAGE_HEADER.size : offset + length]
            if kind == NLMSG_DONE:
                return payloads
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", payload)[0]
                raise OSError(code, "sock_diag refused")
            payloads.append(payload)
            offset += (length + 3) & ~3


def handshakes_by_proc(address: Address) -> frozenset[Peer]:
    """The same from /proc/net/tcp, where each 32-bit word of an address is a number in host order."""
    family = socket.AF_INET6 if address.is_ipv6 else socket.AF_INET
    local = socket.inet_pton(family, address.host.partition("%")[0])
    found = set()
    table = Path("/proc/net/tcp6" if address.is_ipv6 else "/proc/net/tcp").read_text(encoding="ascii")
    for line in table.splitlines()[1:]:
        _, here, there, state = line.split()[:4]
        if int(state, 16) == TCP_SYN_RECV:
            mine, peer = proc_peer(here), proc_peer(there)
            if mine.port == address.port and (address.is_wildcard or mine.host == local):
                found.add(peer)
    return frozenset(found)


def proc_peer(text: str) -> Peer:
    host, _, port = text.partition(":")
    words = (int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8))
    return Peer(b"".join(words), int(port, 16))
