"""One TCP socket of a listening group: made where it belongs, and bound."""

from __future__ import annotations

import socket

from lb.model.address import Address
from lb.model.listener import TcpOptions
from lb.shell.namespace import within
from lb.shell.tcp_options import place

PLAIN = TcpOptions()

SocketName = tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]  # the last: without IPv6


def claim(address: Address, options: TcpOptions = PLAIN) -> None:
    """Raises OSError if somebody listens there, and leaves nothing behind.

    Joining a group never says that: another lb of the same user would silently get half of the connections.
    A socket without SO_REUSEPORT is refused by every listening one.
    """
    bound_socket(address, options, reuse_port=False).close()


def bound_socket(address: Address, options: TcpOptions = PLAIN, *, reuse_port: bool) -> socket.socket:
    """Where `options` place it; the others are not set yet. Raises OSError."""
    sock, name = placed_socket(address, options)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # sessions of before may be in TIME_WAIT
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if sock.family == socket.AF_INET6:
            # Else [::]:80 takes IPv4 clients too, and 0.0.0.0:80 beside it cannot be bound.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


def placed_socket(
    address: Address, options: TcpOptions, kind: socket.SocketKind = socket.SOCK_STREAM
) -> tuple[socket.socket, SocketName]:
    """One in the namespace and at the interface of the options, and the name to bind or to connect it to."""

    def make() -> tuple[socket.socket, SocketName]:
        family, _, protocol, _, name = socket.getaddrinfo(
            address.host.encode(),  # as text, it would import the codec of international names
            address.port,
            type=kind,
            flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE,
        )[0]  # numeric: this asks nobody; it is how the zone of a link-local address becomes a number
        return socket.socket(family, kind, protocol), name

    sock, name = within(options.netns, make)
    try:
        sock.setblocking(False)
        place(sock, options)
    except OSError:
        sock.close()
        raise
    return sock, name
