"""A stage: the test's one thread turns the engine and plays both ends of all sessions: order is the test's.

A part is a generator that plays one end. It yields True when it got on, False when it waits; nothing blocks.
What an end has sent and received, and how its stream ended, is kept for judging.
"""

from __future__ import annotations

import errno
import select
import socket
import struct
from collections.abc import Callable, Generator
from contextlib import suppress

from lb.shell.datapath import MORE
from tests.support.engine_bench import EngineBench
from tests.support.scripted_endpoint import FIN, RESET

READ_BYTES = 1 << 18
SETTLE_STEPS_MAX = 20_000

Part = Generator[bool, None, None]


class End:
    """One end of a session: a socket that never blocks. `ended`: how the other's stream did; "": not yet."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.sent = bytearray()
        self.received = bytearray()
        self.ended = ""
        self.finished = False  # its own stream
        self.was_reset = False  # by itself
        self.is_broken = False  # by the other, as send() was told

    @property
    def is_open(self) -> bool:
        return self.sock.fileno() != -1

    # ---- What it does at once ----

    def push(self, data: bytes | memoryview) -> int:
        """Sends what the kernel takes now; -1: the connection is broken."""
        try:
            size = self.sock.send(data)
        except BlockingIOError:
            return 0
        except OSError:  # told once: what recv() finds afterwards looks like an end of stream
            self.is_broken = True
            return -1
        self.sent += data[:size]
        return size

    def pull(self, size: int = READ_BYTES) -> int:
        """Reads what is there; 0: nothing, or the stream has ended."""
        if self.ended or not self.is_open:
            return 0
        try:
            data = self.sock.recv(size)
        except BlockingIOError:
            return 0
        except OSError:
            self.ended = RESET
            return 0
        if not data:
            self.ended = RESET if self.is_broken else FIN
        self.received += data
        return len(data)

    def finish(self) -> None:
        """Its end of stream."""
        self.finished = True
        with suppress(OSError):  # it was reset meanwhile
            self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.was_reset = True
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.finished = True
        self.sock.close()

    # ---- What takes turns ----

    def send(self, data: bytes) -> Part:
        view = memoryview(data)
        while view:
            size = self.push(view)
            if size < 0:
                return
            view = view[size:]
            yield size > 0

    def read(self, size: int) -> Part:
        """Until it has received `size` bytes in all, or the stream ended."""
        while len(self.received) < size and not self.ended:
            yield self.pull() > 0

    def read_to_end(self) -> Part:
        while not self.ended:
            yield self.pull() > 0


def connecting(
    address: tuple[str, int] | str, *, receive_bytes: int = 0, send_bytes: int = 0
) -> socket.socket:
    """A client's socket, connected: on loopback the backlog takes it at once. A text is a path."""
    if isinstance(address, str):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address)
        sock.setblocking(False)
        return sock
    sock = socket.socket()
    if receive_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    if send_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    outcome = sock.connect_ex(address)
    assert outcome in (0, errno.EINPROGRESS), f"connect: {errno.errorcode[outcome]}"
    return sock


class Turner:
    """Steps an engine that has no thread, when it has something to do."""

    def __init__(self, bench: EngineBench) -> None:
        self.bench = bench
        self.steps = 0
        self._found = MORE
        self._poll = select.poll()
        self._poll.register(bench.engine.fileno(), select.POLLIN)

    def turn(self, wait_ms: float = 0) -> bool:
        """One step, if there is something to do within the time. False: there was not."""
        if not self._found & MORE and not self._poll.poll(wait_ms):
            return False
        self.step()
        return True

    def step(self) -> None:
        self._found = self.bench.engine.step()
        self.steps += 1

    def until(self, condition: Callable[[], bool], *, wait_ms: float, waits_max: int, reason: str) -> None:
        """Turns until the condition holds; gives up after so many waits in which nothing came."""
        waits = 0
        while not condition():
            if not self.turn(wait_ms):
                waits += 1
                assert waits < waits_max, f"nothing more happens, and not yet: {reason}"
            assert self.steps < SETTLE_STEPS_MAX, f"it spins, and not yet: {reason}"
