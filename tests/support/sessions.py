"""Sessions whose both ends the test holds: the client's socket and, behind lb, the endpoint's.

lb connects to the endpoint as soon as it accepted, so a session opened here is complete at once. Only for
pools without a check: a probe would be taken for a session.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NamedTuple

from tests.support.ports import free_port
from tests.support.waiting import eventually

WITHIN_S = 10.0
SIOCOUTQ = 0x5411  # linux/sockios.h: bytes sent and not yet acknowledged


class Pair(NamedTuple):
    client: socket.socket
    upstream: socket.socket

    def close(self) -> None:
        self.client.close()
        self.upstream.close()


class Acceptor:
    """An endpoint in the test's own hands."""

    def __init__(self, backlog: int = 1024) -> None:
        self.port = free_port()
        self.listening = socket.create_server(("127.0.0.1", self.port), backlog=backlog)
        self.listening.settimeout(WITHIN_S)
        self._open: list[socket.socket] = []

    def accept(self) -> socket.socket:
        upstream, _ = self.listening.accept()
        upstream.settimeout(WITHIN_S)
        self._open.append(upstream)
        return upstream

    def session(self, lb_port: int) -> Pair:
        """A new session through lb, both ends with a timeout."""
        client = connect(lb_port)
        self._open.append(client)
        return Pair(client, self.accept())

    def close(self) -> None:
        self.listening.close()
        for one in self._open:
            one.close()


@contextmanager
def acceptor(backlog: int = 1024) -> Iterator[Acceptor]:
    with closing(Acceptor(backlog)) as one:
        yield one


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)


def turned_away(port: int, within_s: float) -> tuple[str, int]:
    """The address of a client whom lb resets at once: the reset may be there before connect() returns."""
    with socket.socket() as client:
        client.settimeout(within_s)
        client.bind(("127.0.0.1", 0))  # so that the address is known even then
        try:
            client.connect(("127.0.0.1", port))
            rest = client.recv(1)
        except ConnectionResetError:
            return client.getsockname()
        raise AssertionError(f"not reset, but {rest!r}")


def is_refused(port: int) -> bool:
    """Whether a new connection is. Its SYN may be dropped at first; it is repeated after a second."""
    try:
        connect(port).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def many(port: int, count: int) -> Iterator[list[socket.socket]]:
    """`count` open connections; each has exchanged a byte with an echo, so none waits in a queue."""
    opened: list[socket.socket] = []
    try:
        for _ in range(count):
            opened.append(connect(port))
            assert echoes(opened[-1]), "a new session does not echo"
        yield opened
    finally:
        for one in opened:
            one.close()


def echoes(connection: socket.socket, message: bytes = b"ping") -> bool:
    """Whether a message comes back whole."""
    try:
        connection.sendall(message)
        return read_exactly(connection, len(message)) == message
    except OSError:
        return False


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """`size` bytes, or fewer when the stream ends before."""
    return b"".join(_chunks(connection, size))


def read_all(connection: socket.socket) -> bytes:
    """To the end of the stream."""
    return b"".join(_chunks(connection, None))


def _chunks(connection: socket.socket, size: int | None) -> Iterator[bytes]:
    while size is None or size > 0:
        chunk = connection.recv(1 << 18 if size is None else min(size, 1 << 18))
        if not chunk:
            return
        size = None if size is None else size - len(chunk)
        yield chunk


def reset(connection: socket.socket) -> None:
    """Ends with a reset, at once: what was not acknowledged is thrown away."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def acknowledged(connection: socket.socket, within_s: float = WITHIN_S) -> None:
    """Waits until the other kernel has everything that was sent."""
    eventually(
        lambda: unacknowledged(connection) == 0, within_s=within_s, reason="all bytes are acknowledged"
    )


def unacknowledged(connection: socket.socket) -> int:
    return struct.unpack("i", fcntl.ioctl(connection, SIOCOUTQ, b"\0" * 4))[0]


def closed(connection: socket.socket, within_s: float) -> str:
    """How the other side ended it: "fin" or "reset". Fails when it stays open, or sends something."""
    connection.settimeout(within_s)
    try:
        rest = connection.recv(4096)
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        raise AssertionError(f"the session is still open after {within_s:g} s") from None
    assert not rest, f"{len(rest)} bytes came, the end was due"
    return "fin"
