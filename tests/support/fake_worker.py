"""A worker that speaks the control channel, accepts with plain sockets, and relays nothing.

`python -m tests.support.fake_worker CONDUCT FD`: CONDUCT is a JSON file that is read at start, so that a test
can change how the next process behaves:

    exit      end with this code at once
    fail_as   a list of workers; who is told to be one of them ends with code 3
    mute      a list of answers that are never given
    refuse    why every snapshot is refused
    linger    stay for ever when told to drain or to stop

Who connects is told `worker pid listener generation sockets` in one line, the last being how many listening
sockets are held, and counts as a session until it closes.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

from lb.shell.control import Channel, Message, close_all
from tests.support.fake_board import LINE

BEAT_S = 0.05
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class FakeWorker:
    def __init__(self, channel: Channel, conduct: dict[str, Any]) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._conduct = conduct
        self._board: mmap.mmap | None = None
        self._index = self._generation = 0
        self._listening: dict[int, socket.socket] = {}
        self._sessions: set[socket.socket] = set()
        self._draining = False
        self.ended: asyncio.Future[int] = self._loop.create_future()
        channel.attach(self._loop, self._on_message, lambda: self._end(0))

    # ---- Orders ----

    def _on_message(self, message: Message, fds: list[int]) -> None:
        getattr(self, f"_do_{message['type']}")(message, fds)

    def _do_start(self, message: Message, fds: list[int]) -> None:
        self._index = message["worker"]
        if self._index in self._conduct.get("fail_as", ()):
            sys.exit(3)
        self._board = mmap.mmap(fds[0], 0)
        close_all(fds)
        self._beat()
        self._tell({"type": "started", "pid": os.getpid(), "layout": message["layout"]})

    def _do_publish(self, message: Message, fds: list[int]) -> None:
        close_all(fds)
        generation = message["generation"]
        if why := self._conduct.get("refuse"):
            self._tell({"type": "refused", "generation": generation, "why": why})
            return
        self._generation = generation
        self._tell({"type": "published", "generation": generation})

    def _do_listen(self, message: Message, fds: list[int]) -> None:
        if why := self._conduct.pop("cannot_listen", ""):  # once
            close_all(fds)
            self._tell({"type": "listening", "sockets": [], "first": message["sockets"][0], "why": why})
            return
        for number, listener, fd in zip(message["sockets"], message["listeners"], fds, strict=True):
            self._forget(number)
            sock = socket.socket(fileno=fd)
            self._listening[number] = sock
            self._loop.add_reader(sock, self._accept, sock, listener)
        numbers = message["sockets"]
        self._tell({"type": "listening", "sockets": numbers, "first": numbers[0], "why": ""})

    def _do_unlisten(self, message: Message, fds: list[int]) -> None:
        for number in message["sockets"]:
            self._forget(number)
        self._tell({"type": "unlistened", "sockets": message["sockets"]})

    def _do_close(self, message: Message, fds: list[int]) -> None:
        """Told back, so that a test sees that it came."""
        key = next(key for key in ("endpoint", "listener") if key in message)
        failed = {f"{key} {message['reason']}": 1, "in_row": 3}
        self._tell({"type": "failures", "endpoints": {str(message[key]): failed}})

    def _do_drain(self, message: Message, fds: list[int]) -> None:
        for number in list(self._listening):
            self._forget(number)
        self._draining = not self._conduct.get("linger")
        self._loop.call_later(message["deadline_s"], self._drained)
        if not self._sessions:
            self._drained()

    def _do_stop(self, message: Message, fds: list[int]) -> None:
        if not self._conduct.get("linger"):
            self._end(0)

    # ---- Sessions ----

    def _accept(self, listening: socket.socket, listener: int) -> None:
        try:
            session, _ = listening.accept()
        except OSError:  # another process was faster, or it was shut down
            return
        words = (self._index, os.getpid(), listener, self._generation, len(self._listening))
        session.sendall((" ".join(map(str, words)) + "\n").encode())
        self._sessions.add(session)
        self._loop.add_reader(session, self._close, session)
        self._beat_once()

    def _close(self, session: socket.socket) -> None:
        self._loop.remove_reader(session)
        session.close()
        self._sessions.discard(session)
        self._beat_once()
        if self._draining and not self._sessions:
            self._drained()

    def _drained(self) -> None:
        if self._draining:
            self._tell({"type": "drained", "cut": len(self._sessions)})
            self._end(0)

    # ---- The rest ----

    def _forget(self, number: int) -> None:
        if sock := self._listening.pop(number, None):
            self._loop.remove_reader(sock)
            sock.close()

    def _beat(self) -> None:
        self._beat_once()
        self._loop.call_later(BEAT_S, self._beat)

    def _beat_once(self) -> None:
        if self._board:
            line = struct.pack(LINE, time.monotonic_ns(), len(self._sessions))
            at = self._index * len(line)
            self._board[at : at + len(line)] = line

    def _tell(self, message: Message) -> None:
        if message["type"] not in self._conduct.get("mute", ()):
            self._channel.send(message)

    def _end(self, code: int) -> None:
        if not self.ended.done():
            self.ended.set_result(code)


async def serve(channel_fd: int, conduct: dict[str, Any]) -> int:
    worker = FakeWorker(Channel(socket.socket(fileno=channel_fd)), conduct)
    return await worker.ended


def main(conduct_path: str, channel_fd: str) -> int:
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    conduct = json.loads(Path(conduct_path).read_text())
    if "exit" in conduct:
        return int(conduct["exit"])
    return asyncio.run(serve(int(channel_fd), conduct))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
