"""Connecting, as a probe does: a socket that stands, before anything is read from it or written to it."""

from __future__ import annotations

import asyncio
import socket

from lb.model.address import Address, SocketAddress
from lb.shell.questions.answer import ANSWER_BYTES_MAX, Connection, Failed


async def connected(address: SocketAddress) -> socket.socket:
    """It does not block. Raises OSError and Failed."""
    if not isinstance(address, Address):
        return unix_connected(address.path)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address.host, address.port))
        if sock.getsockname() == sock.getpeername():
            # On loopback the kernel may draw the very port we look for as ours, and TCP allows the meeting.
            raise Failed("connect: refused (it met itself)")
    except BaseException:
        sock.close()
        raise
    return sock


def unix_connected(path: str) -> socket.socket:
    """A unix socket answers at once. Not by the loop: asyncio takes EAGAIN, a full queue, for a connect under
    way. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


async def streams(sock: socket.socket) -> Connection:
    """Reader and writer over it; it is theirs from now on."""
    opened = asyncio.open_unix_connection if sock.family == socket.AF_UNIX else asyncio.open_connection
    return await opened(sock=sock, limit=ANSWER_BYTES_MAX)
