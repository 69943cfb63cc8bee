"""Endpoints of which a test says every word: it accepts the connection itself, reads and writes, ends it.

The other two things a test about bytes needs are here too: a reset, and all that arrives until the end.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import socket
import struct
import threading
import time

from tests.support.ports import free_port

TIMEOUT_S = 10.0  # of each socket call in a test: far above what loopback needs
READ_BYTES = 1 << 18
FIN, RESET = "fin", "reset"
SIOCOUTQ = 0x5411  # linux/sockios.h


class ScriptedEndpoint:
    """Listens on a port of its own until it is closed."""

    _closing = False

    def __init__(
        self, host: str = "127.0.0.1", *, backlog: int = 1024, receive_bytes: int = 0, send_bytes: int = 0
    ) -> None:
        self._listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        size_buffers(self._listening, receive_bytes, send_bytes)
        self._listening.bind((host, free_port(host)))
        self._listening.listen(backlog)
        self._listening.settimeout(TIMEOUT_S)
        self.address: tuple[str, int] = self._listening.getsockname()[:2]
        self._echoing: threading.Thread | None = None

    def accept(self, within_s: float = TIMEOUT_S) -> socket.socket:
        self._listening.settimeout(within_s)
        connection, _ = self._listening.accept()
        connection.settimeout(TIMEOUT_S)
        return connection

    def set_backlog(self, backlog: int) -> None:
        self._listening.listen(backlog)

    def echo(self) -> ScriptedEndpoint:
        """From now on each connection is served by a thread: sends back what it reads, then closes."""
        self._echoing = threading.Thread(target=self._echo, daemon=True)
        self._echoing.start()
        return self

    def _echo(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return  # the end of the test
            if self._closing:
                connection.close()
                return
            threading.Thread(target=echo_all, args=(connection,), daemon=True).start()

    def close(self) -> None:
        """Connections that were accepted stay the test's."""
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        if self._echoing is not None:
            self._echoing.join(TIMEOUT_S)
        self._listening.close()


class ScriptedUnixEndpoint(ScriptedEndpoint):
    """At a path, which stays when it is closed."""

    def __init__(self, path: str, *, backlog: int = 1024) -> None:
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(path)
        self._listening.listen(backlog)
        self._listening.settimeout(TIMEOUT_S)
        self.path = path
        self._echoing = None

    def close(self) -> None:
        """Shutting it down does not wake who waits in accept(), as it does over TCP: a client does."""
        if self._echoing is not None:
            self._closing = True
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as last:
                last.connect(self.path)
                self._echoing.join(TIMEOUT_S)
        super().close()


def echo_all(connection: socket.socket) -> None:
    connection.settimeout(30.0)
    with connection, contextlib.suppress(OSError):
        while data := connection.recv(READ_BYTES):
            connection.sendall(data)


def size_buffers(sock: socket.socket, receive_bytes: int, send_bytes: int) -> None:
    """0: the kernel's own choice. Small ones make a slow path visible with few bytes."""
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    if send_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def unacknowledged(connection: socket.socket) -> int:
    """Bytes (and an end of stream) that were sent, and that the peer's kernel has not acknowledged."""
    count = array.array("i", [0])
    fcntl.ioctl(connection, SIOCOUTQ, count)
    return count[0]


def read_exactly(connection: socket.socket, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        chunk = connection.recv(size - len(data))
        assert chunk, f"the stream ended after {len(data)} of {size} bytes"
        data += chunk
    return bytes(data)


def read_to_end(
    connection: socket.socket, *, pause_s: float = 0.0, chunk_bytes: int = READ_BYTES
) -> tuple[bytes, str]:
    """All that arrives, and how the stream ended. With a pause between the reads: a slow reader."""
    data = bytearray()
    pausing = threading.Event()
    deadline_s = time.monotonic() + 30.0
    while True:
        assert time.monotonic() < deadline_s, f"{len(data)} bytes, and no end"
        try:
            chunk = connection.recv(chunk_bytes)
        except ConnectionResetError:
            return bytes(data), RESET
        if not chunk:
            return bytes(data), FIN
        data += chunk
        if pause_s:
            pausing.wait(pause_s)
