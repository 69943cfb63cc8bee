"""The channel between the supervisor and one worker: whole JSON messages, with descriptors riding along.

Both processes import this module, so it imports little. A message arrives whole and in order or not at all
(SOCK_SEQPACKET); `type` names it. What the socket does not take at once waits in a bounded queue, so a worker
that stopped reading never holds up the supervisor: when the queue is full the channel counts as closed, and
its owner replaces the worker.

Ownership of descriptors: `send` never takes those it is given (a queued message holds duplicates of its own);
whoever receives a message owns what came with it. Received descriptors are closed on exec.
"""

from __future__ import annotations

import array
import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

Message = dict[str, Any]

MESSAGE_BYTES_MAX = 64 * 1024  # fits the kernel's default buffer of a unix socket (208 KiB) three times
FDS_PER_MESSAGE_MAX = 250  # the kernel's own bound is 253 (SCM_MAX_FD)
QUEUE_MESSAGES_MAX = 256
MESSAGES_PER_CALL_MAX = 256  # a chatty peer gets its next turn after the loop served everyone else

FD_BYTES = array.array("i").itemsize
FULL = (BlockingIOError, InterruptedError)


class ChannelClosed(Exception):
    """The peer is gone, or does not read, or sent what is no message. The channel is of no more use."""


class Channel:
    """One end of a connected SOCK_SEQPACKET pair, which it owns."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._on_message: Callable[[Message, list[int]], None] | None = None
        self._on_closed: Callable[[], None] | None = None

    def fileno(self) -> int:
        """-1 once closed."""
        return self._sock.fileno()

    @property
    def waits(self) -> bool:
        """The peer has not read what was sent: more would be queued."""
        return bool(self._queue)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send, or queue. Raises ChannelClosed."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MESSAGE_BYTES_MAX or len(fds) > FDS_PER_MESSAGE_MAX:
            raise ValueError(f"a message of {len(data)} bytes and {len(fds)} descriptors is too large")
        if self._queue or not self._write(data, fds):
            self._enqueue(data, fds)

    def receive(self) -> list[tuple[Message, list[int]]]:
        """What can be read now, at most MESSAGES_PER_CALL_MAX. Raises ChannelClosed once nothing is left."""
        received: list[tuple[Message, list[int]]] = []
        while len(received) < MESSAGES_PER_CALL_MAX:
            try:
                one = self._read()
            except ChannelClosed:
                if not received:
                    raise
                break  # the next call finds it closed again
            if one is None:
                break
            received.append(one)
        return received

    def attach(
        self,
        loop: asyncio.AbstractEventLoop,
        on_message: Callable[[Message, list[int]], None],
        on_closed: Callable[[], None],
    ) -> None:
        """Let the loop read and write. `on_message` owns the descriptors; `on_closed` comes once, last."""
        self._loop, self._on_message, self._on_closed = loop, on_message, on_closed
        loop.add_reader(self.fileno(), self._readable)
        if self._queue:
            loop.add_writer(self.fileno(), self._writable)

    def close(self) -> None:
        """No callback comes after this. Idempotent."""
        if self.fileno() == -1:
            return
        if self._loop is not None:
            self._loop.remove_reader(self.fileno())
            self._loop.remove_writer(self.fileno())
        for _, fds in self._queue:
            close_all(fds)
        self._queue.clear()
        self._sock.close()

    # ---- Writing ----

    def _write(self, data: bytes, fds: Sequence[int]) -> bool:
        """False: the socket is full."""
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._sock.sendmsg([data], rights, socket.MSG_NOSIGNAL)
        except FULL:
            return False
        except OSError as error:
            raise ChannelClosed(f"cannot send: {error.strerror}") from error
        return True

    def _enqueue(self, data: bytes, fds: Sequence[int]) -> None:
        if len(self._queue) >= QUEUE_MESSAGES_MAX:
            raise ChannelClosed(f"the peer left {QUEUE_MESSAGES_MAX} messages unread")
        if not self._queue and self._loop is not None:
            self._loop.add_writer(self.fileno(), self._writable)
        self._queue.append((data, [os.dup(fd) for fd in fds]))

    def _writable(self) -> None:
        try:
            while self._queue and self._write(*self._queue[0]):
                close_all(self._queue.popleft()[1])
        except ChannelClosed:
            self._lost()
            return
        if not self._queue and self._loop is not None:
            self._loop.remove_writer(self.fileno())

    # ---- Reading ----

    def _read(self) -> tuple[Message, list[int]] | None:
        """None: nothing to read now."""
        space = socket.CMSG_SPACE(FDS_PER_MESSAGE_MAX * FD_BYTES)
        try:
            data, rights, flags, _ = self._sock.recvmsg(MESSAGE_BYTES_MAX, space, socket.MSG_CMSG_CLOEXEC)
        except FULL:
            return None
        except OSError as error:  # ECONNRESET: the peer died with messages of ours unread
            raise ChannelClosed(f"cannot receive: {error.strerror}") from error
        fds = array.array("i")
        for _, _, packed in rights:
            fds.frombytes(packed[: len(packed) - len(packed) % FD_BYTES])
        if not data:
            raise ChannelClosed("the peer closed the channel")
        try:
            if flags & (socket.MSG_CTRUNC | socket.MSG_TRUNC):
                raise ValueError("cut short: too long, or no descriptor was free for what came with it")
            message = json.loads(data)
            if not (isinstance(message, dict) and "type" in message):
                raise ValueError("no message")
        except ValueError as error:
            close_all(fds)
            raise ChannelClosed(f"cannot read: {error}") from error
        return message, list(fds)

    def _readable(self) -> None:
        try:
            received = self.receive()
        except ChannelClosed:
            self._lost()
            return
        for message, fds in received:
            if self.fileno() == -1:  # closed by the handler of the message before
                close_all(fds)
            elif self._on_message is not None:
                self._on_message(message, fds)

    def _lost(self) -> None:
        on_closed = self._on_closed
        self.close()
        if on_closed is not None:
            on_closed()


def close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        os.close(fd)
