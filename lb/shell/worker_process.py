"""One worker process: spawned, talked to, and followed to its end.

Its death is seen by pidfd, in the loop and at once; it is reaped there, so no zombie is left. Nothing here
raises because a worker misbehaves: whatever happens to it, `exited` comes true, and everything it was asked
gets an answer: None when it is gone.

Signals are blocked while it is born, so that one sent to the whole process group cannot kill it before it
ignores them; the worker unblocks them itself.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

from lb.shell.control import Channel, ChannelClosed, Message, close_all

WORKER_COMMAND = (sys.executable, "-m", "lb.worker")
LAYOUT_DIFFERS = 70  # exit code: EX_SOFTWARE of sysexits.h

# Between closing its channel and ending, a worker tears its interpreter down: the exit code is worth a wait.
EXIT_S_MAX = 1.0

SUPERVISOR_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# What a message of a worker answers, and the key that tells which question.
ANSWERS = {
    "started": ("started", None),
    "published": ("published", "generation"),
    "refused": ("published", "generation"),
    "listening": ("listening", "first"),
    "drained": ("drained", None),
}

Answer = asyncio.Future[Message | None]


class WorkerProcess:
    """`pid` names it in the log; `exited` is its return code, negative for a signal."""

    def __init__(
        self, command: Sequence[str], cpu: int | None, on_message: Callable[[Message], None]
    ) -> None:
        """Spawn it. Raises OSError."""
        self._loop = asyncio.get_running_loop()
        self._on_message = on_message
        self._asked: defaultdict[tuple[str, int], deque[Answer]] = defaultdict(deque)
        self._process, self._pidfd, ours = spawn(command, cpu)
        self._channel = Channel(ours)
        self._channel.attach(self._loop, self._received, self._channel_lost)
        self._loop.add_reader(self._pidfd, self._ended)
        self.pid = self._process.pid
        self.exited: asyncio.Future[int] = self._loop.create_future()

    def tell(self, message: Message, fds: Sequence[int] = ()) -> None:
        if self._channel.fileno() == -1:
            return
        try:
            self._channel.send(message, fds)
        except ChannelClosed:
            self._channel_lost()

    def ask(self, message: Message, fds: Sequence[int] = (), *, answer: str, number: int = 0) -> Answer:
        """Tell, and expect the message `answer` with that number. Equal questions are answered in turn."""
        future: Answer = self._loop.create_future()
        self._asked[answer, number].append(future)
        self.tell(message, fds)
        if self._channel.fileno() == -1:
            self._leave_unanswered()
        return future

    def kill(self) -> None:
        if not self.exited.done():
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def _received(self, message: Message, fds: Sequence[int]) -> None:
        close_all(fds)  # none are expected
        kind, key = ANSWERS.get(message["type"], ("", None))
        asked = self._asked.get((kind, message[key] if key else 0))
        if asked:
            answer = asked.popleft()
            if not answer.done():
                answer.set_result(message)
        elif not kind:
            self._on_message(message)

    def _channel_lost(self) -> None:
        self._channel.close()
        self._leave_unanswered()
        self._loop.call_later(EXIT_S_MAX, self.kill)

    def _leave_unanswered(self) -> None:
        for asked in self._asked.values():
            for answer in asked:
                if not answer.done():
                    answer.set_result(None)
        self._asked.clear()

    def _ended(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        if self._channel.fileno() != -1:
            self._hear_last_words()
        self._channel.close()
        self._leave_unanswered()
        self.exited.set_result(self._process.wait())  # it is dead: this only reaps it

    def _hear_last_words(self) -> None:
        """What it sent before it died, such as `drained`, may not have been read yet."""
        with suppress(ChannelClosed):
            while received := self._channel.receive():
                for message, fds in received:
                    self._received(message, fds)


def spawn(command: Sequence[str], cpu: int | None) -> tuple[subprocess.Popen[bytes], int, socket.socket]:
    """Start `command` with its end of a channel, whose number is the last argument.

    Returns it, its pidfd, and our end. Raises OSError, and leaves nothing behind.
    """
    with ExitStack() as undo:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        undo.callback(ours.close)
        with theirs, signals_blocked(), pinned(cpu):
            process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env={**os.environ, "UV_USE_IO_URING": "0"},
            )
        undo.callback(process.wait)
        undo.callback(process.kill)
        pidfd = os.pidfd_open(process.pid)  # the last descriptor may just have gone
        undo.pop_all()
    return process, pidfd, ours


@contextmanager
def signals_blocked() -> Iterator[None]:
    """A child born inside has them blocked; here they arrive afterwards."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SUPERVISOR_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def pinned(cpu: int | None) -> Iterator[None]:
    """A child born inside runs on this CPU only, and so do all its threads. Raises OSError."""
    if cpu is None:
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"workers.cpus: {cpu}") from error
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def ending(code: int) -> str:
    """A return code in words."""
    if code >= 0:
        hint = ": the installed files changed; restart or upgrade lb" if code == LAYOUT_DIFFERS else ""
        return f"exit code {code}{hint}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:  # a real-time signal has no name
        return f"signal {-code}"
