"""An endpoint that does to each connection what a test says, and remembers how the connection ended."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from lb.model.address import Address, SocketAddress, UnixAddress

Script = Callable[[socket.socket], object]
Piece = TypeVar("Piece")


class Scripted:
    """What comes after the script is read to the end. `path`: of a unix socket."""

    def __init__(self, script: Script, path: str | None = None) -> None:
        self._script = script
        self._listening = socket.create_server(("127.0.0.1", 0)) if path is None else unix_server(path)
        self._news = threading.Condition()
        self._chunks: list[bytes] = []
        self._ends: list[str] = []
        self.address: SocketAddress = UnixAddress(path) if path else Address(*self._listening.getsockname())
        threading.Thread(target=self._accept, daemon=True).start()

    def heard(self, count: int, within_s: float = 5.0) -> list[bytes]:
        """The first `count` pieces that came after the script, over all connections."""
        return self._first(self._chunks, count, within_s)

    def ended(self, count: int, within_s: float = 5.0) -> list[str]:
        """How the first `count` connections ended: `fin` or `reset`."""
        return self._first(self._ends, count, within_s)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return  # closed
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            end = "fin"
            try:
                self._script(connection)
                while chunk := connection.recv(65536):
                    self._tell(self._chunks, chunk)
            except ConnectionError:
                end = "reset"
        self._tell(self._ends, end)

    def _tell(self, news: list[Piece], piece: Piece) -> None:
        with self._news:
            news.append(piece)
            self._news.notify_all()

    def _first(self, news: list[Piece], count: int, within_s: float) -> list[Piece]:
        with self._news:
            assert self._news.wait_for(lambda: len(news) >= count, within_s), f"{count} wanted: {news}"
            return news[:count]


def answering_http(connection: socket.socket) -> None:
    """A script: reads a request, says 200, and closes."""
    asked = b""
    while not asked.endswith(b"\r\n\r\n") and (chunk := connection.recv(65536)):
        asked += chunk
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)


def unix_server(path: str) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    listening.listen()
    return listening


@contextmanager
def scripted(script: Script, path: str | None = None) -> Iterator[Scripted]:
    endpoint = Scripted(script, path)
    try:
        yield endpoint
    finally:
        endpoint.close()
