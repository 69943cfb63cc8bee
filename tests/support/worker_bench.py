"""One worker process and the supervisor's end of its channel, in the hands of a test."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Any

from lb.model.snapshot import Snapshot
from lb.shell.control import Channel, ChannelClosed, Message
from lb.shell.datapath import LAYOUT, Board, Ring, compile_snapshot
from tests.support.engine_bench import OPTIONS

ANSWERS_WITHIN_S = 10.0


class WorkerBench:
    def __init__(self, board: Board | None = None, **start: Any) -> None:
        self.board = board if board is not None else Board.create(1)
        self.ring = Ring.create()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            fd = theirs.fileno()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lb.worker", str(fd)],
                pass_fds=(fd,),
                env=os.environ | {"UV_USE_IO_URING": "0"},
                stderr=subprocess.PIPE,
                text=True,
            )
        self.channel = Channel(ours)
        self._received: list[Message] = []
        self._start = {"worker": 0, "layout": LAYOUT} | start

    def start(self) -> WorkerBench:
        message = {
            "type": "start",
            "sessions_max": 1000,
            "pipes_max": 16,
            "access": True,
            "orphan_s": 60.0,
            "drain_s": 60.0,
        }
        self.tell(message | self._start, self.board.fd, self.ring.fd)
        return self

    def serve(self, snapshot: Snapshot) -> tuple[str, int]:
        """Started, published to and listening; returns where."""
        self.start()
        self.answer("started")
        self.publish(snapshot)
        return self.listen(7)

    def publish(self, snapshot: Snapshot) -> None:
        fd = compile_snapshot(snapshot)
        self.tell({"type": "publish", "generation": snapshot.generation}, fd)
        os.close(fd)
        assert self.answer("published")["generation"] == snapshot.generation

    def listen(self, number: int) -> tuple[str, int]:
        with socket.create_server(("127.0.0.1", 0), backlog=1024) as listening:
            listening.setblocking(False)
            for level, name in OPTIONS:
                listening.setsockopt(level, name, 1)
            self.tell({"type": "listen", "listeners": [0], "sockets": [number]}, listening.fileno())
            assert self.answer("listening")["sockets"] == [number]
            host, port = listening.getsockname()
            return host, port

    def tell(self, message: Message, *fds: int) -> None:
        self.channel.send(message, fds)

    def answer(self, kind: str, within_s: float = ANSWERS_WITHIN_S) -> Message:
        """The next message of this type; those of others stay for later."""
        deadline_s = time.monotonic() + within_s
        while True:
            for index, message in enumerate(self._received):
                if message["type"] == kind:
                    return self._received.pop(index)
            left_s = deadline_s - time.monotonic()
            assert left_s > 0, f"no {kind!r} within {within_s:g} s; there came {self._received}"
            if select.select([self.channel.fileno()], [], [], left_s)[0]:
                try:
                    self._received += [message for message, _ in self.channel.receive()]
                except ChannelClosed as error:
                    raise AssertionError(f"{error}, before {kind!r}; {self.ended(5)}") from error

    def ended(self, within_s: float = ANSWERS_WITHIN_S) -> tuple[int, str]:
        """Exit code and what it said; raises when it goes on."""
        _, said = self.process.communicate(timeout=within_s)
        return self.process.returncode, said

    def runs(self) -> bool:
        return self.process.poll() is None

    def close(self) -> None:
        if self.runs():
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(5)
        if self.process.stderr is not None:
            self.process.stderr.close()
        self.channel.close()
        self.board.close()
        self.ring.close()
