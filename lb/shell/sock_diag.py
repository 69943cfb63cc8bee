"""How much still waits at a listening socket: handshakes under way, and connections nobody accepted yet.

The accept queue is counted by TCP_INFO of the socket itself, that of a unix socket (which has no handshakes)
by NETLINK_SOCK_DIAG. Handshakes are seen by NETLINK_SOCK_DIAG, and
there by local address, not by socket: of a group that goes on, one remembers which were under way when the
socket was steered away from, and waits until none of those is left. One look walks every TCP socket of the
machine (10 ms with a table of 262144 entries), so it is made off the loop and shared: lb/shell/lookout.py.
Both see one network namespace: that of the thread which made the netlink socket.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from lb.model.address import Address
from lb.shell.namespace import within

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x001, 0x300
TCP_SYN_RECV = 3

MESSAGE_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
REQUEST = struct.Struct("=BBBxI48x")  # struct inet_diag_req_v2: family, protocol, extensions, states, any id
ANSWER = struct.Struct("!B3xHH16s16s")  # the head of struct inet_diag_msg: family, ports, addresses
UNIX_REQUEST = struct.Struct("=BBxxIIIII")  # unix_diag_req: family, protocol, states, inode, show, cookie
UNIX_ANSWER = struct.Struct("=BBBxIII")  # the head of unix_diag_msg: family, type, state, inode, cookie
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
UDIAG_SHOW_RQLEN, UNIX_DIAG_RQLEN = 0x10, 4
NO_COOKIE = 0xFFFFFFFF

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
    if sock.family == socket.AF_UNIX:
        return unix_queue(sock)
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, UNACKED_OFFSET + 4)
    return int.from_bytes(info[UNACKED_OFFSET:], sys.byteorder)


def unix_queue(sock: socket.socket) -> int:
    with suppress(OSError):  # a sandbox without this netlink family, a kernel without unix_diag
        return unix_queue_by_netlink(os.fstat(sock.fileno()).st_ino)
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return len(poll.poll(0))  # some, or none


def unix_queue_by_netlink(inode: int) -> int:
    """Raises OSError."""
    number = inode & 0xFFFFFFFF
    request = UNIX_REQUEST.pack(socket.AF_UNIX, 0, 0xFFFFFFFF, number, UDIAG_SHOW_RQLEN, NO_COOKIE, NO_COOKIE)
    with netlink_socket() as netlink:
        ask(netlink, request, NLM_F_REQUEST)
        payload = next(answers(netlink))
    at = UNIX_ANSWER.size
    while at + ATTRIBUTE.size <= len(payload):
        length, kind = ATTRIBUTE.unpack_from(payload, at)
        if kind == UNIX_DIAG_RQLEN:  # of a listening socket: how many wait, and how many may
            waiting: int = struct.unpack_from("=I", payload, at + ATTRIBUTE.size)[0]
            return waiting
        at += max((length + 3) & ~3, ATTRIBUTE.size)
    raise OSError(errno.ENOMSG, "sock_diag did not tell")


def handshakes(netns: str | None = None) -> frozenset[Handshake]:
    """All that are under way in a network namespace."""
    for look in (handshakes_by_netlink, handshakes_by_proc):
        with suppress(OSError):  # a sandbox without this netlink family, a kernel without inet_diag
            return look(netns)
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


def handshakes_by_netlink(netns: str | None = None) -> frozenset[Handshake]:
    found = set()
    with within(netns, netlink_socket) as netlink:
        for family, size in ((socket.AF_INET, 4), (socket.AF_INET6, 16)):
            request = REQUEST.pack(family, socket.IPPROTO_TCP, 0, 1 << TCP_SYN_RECV)
            ask(netlink, request, NLM_F_REQUEST | NLM_F_DUMP)
            for payload in answers(netlink):
                _, port, peer_port, host, peer_host = ANSWER.unpack_from(payload)
                found.add(Handshake(host[:size], port, peer_host[:size], peer_port))
    return frozenset(found)


def netlink_socket() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_SOCK_DIAG)
    netlink.settimeout(REPLY_TIMEOUT_S)
    return netlink


def ask(netlink: socket.socket, request: bytes, flags: int) -> None:
    length = MESSAGE_HEADER.size + len(request)
    head = MESSAGE_HEADER.pack(length, SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    netlink.sendto(head + request, (0, 0))


def answers(netlink: socket.socket) -> Iterator[bytes]:
    """The payloads of the answers to one request; those to a dump have an end. Raises OSError."""
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


def handshakes_by_proc(netns: str | None = None) -> frozenset[Handshake]:
    """The same from /proc/net, whose tables have a line for every TCP socket: slow on a busy machine."""
    found = set()
    for line in proc_lines(netns):
        _, here, there, state = line.split(maxsplit=4)[:4]
        if int(state, 16) == TCP_SYN_RECV:
            found.add(Handshake(*proc_address(here), *proc_address(there)))
    return frozenset(found)


def proc_lines(netns: str | None = None) -> list[str]:
    """A line for each TCP socket of a network namespace. Raises OSError."""

    def read() -> list[str]:
        # Not /proc/net: that is the main thread's.
        tables = [Path("/proc/thread-self/net", name) for name in ("tcp", "tcp6")]
        found = [table.read_text(encoding="ascii").splitlines()[1:] for table in tables if table.exists()]
        return [line for lines in found for line in lines]  # there may be no IPv6 here

    return within(netns, read)


def proc_address(text: str) -> tuple[bytes, int]:
    """`0100007F:1F90`: each 32-bit word of the address is a number in host order."""
    host, _, port = text.partition(":")
    words = (int(host[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(host), 8))
    return b"".join(words), int(port, 16)
