"""Long streams through a session, sent and read at once by threads, and known by their SHA-256."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable
from typing import Any

CHUNK_BYTES = 1 << 18
BLOCK = os.urandom(1 << 20)


class InThread(threading.Thread):
    """Runs a call beside the test. `result()` waits for it, and raises what it raised."""

    def __init__(self, call: Callable[..., Any], *arguments: Any) -> None:
        super().__init__(daemon=True)
        self._call, self._arguments = call, arguments
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._call(*self._arguments)
        except BaseException as error:
            self._error = error

    def result(self, within_s: float) -> Any:
        self.join(within_s)
        assert not self.is_alive(), f"{self._call.__name__} is not done after {within_s:g} s"
        if self._error is not None:
            raise self._error
        return self._result


def blocks(size: int, shift: int) -> list[memoryview]:
    """`size` bytes of noise; two streams of different `shift` differ in each block."""
    view, made, length = memoryview(BLOCK + BLOCK), [], 0
    while length < size:
        start = (shift + 7919 * len(made)) % len(BLOCK)  # a prime: no block begins like another
        made.append(view[start : start + min(len(BLOCK), size - length)])
        length += len(made[-1])
    return made


def digest(size: int, shift: int) -> str:
    """Of what `send` sends."""
    found = hashlib.sha256()
    for block in blocks(size, shift):
        found.update(block)
    return found.hexdigest()


def send(connection: socket.socket, size: int, shift: int, *, half_close: bool = True) -> None:
    for block in blocks(size, shift):
        connection.sendall(block)
    if half_close:
        connection.shutdown(socket.SHUT_WR)


def read_digest(connection: socket.socket) -> tuple[int, str]:
    """Length and SHA-256 of all up to the end of the stream."""
    size, found = 0, hashlib.sha256()
    while chunk := connection.recv(CHUNK_BYTES):
        size += len(chunk)
        found.update(chunk)
    return size, found.hexdigest()
