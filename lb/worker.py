"""The worker process: a uvloop loop that turns the engine and does what the channel says.

`python -m lb.worker FD`, where FD is its end of the channel to the supervisor. It imports little, decides
nothing, and only the channel ends it: signals meant for the process group are ignored. When the supervisor is
gone it serves on with what it knows for `orphan_s`, or until SIGTERM, then drains and exits.

One thread, one wait: in each turn of the loop the engine serves, and waits, for sessions, for the descriptor
of the loop itself, and for the first thing that is due. So the loop turns when there is something for it,
some four times a second, and no message of a session passes through it.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
from collections.abc import Callable
from itertools import islice
from time import monotonic
from typing import Any

import uvloop

from lb.shell.control import Channel, ChannelClosed, Message, close_all
from lb.shell.datapath import FAILURES_SEEN, LAYOUT, Engine
from lb.shell.due import Due

BEAT_S = 0.25  # the supervisor calls a worker silent after four of them
DRAINED_S_MAX = 0.02  # how late the end of the last session may be seen
FAILURES_EVERY_S = 0.02  # a flood of failed connects becomes 50 messages a second
FAILED_PER_MESSAGE_MAX = 256  # endpoints; a message is bounded, and 16384 of them may fail at once
EXIT_LAYOUT = 70  # the installed files are another version's than the supervisor's
IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE)


class Worker:
    """Created inside its running loop; `ended` is done when the process may exit."""

    def __init__(self, channel: Channel) -> None:
        self._loop = asyncio.get_running_loop()
        self._channel = channel
        self._engine: Engine | None = None
        self._due = Due()
        self._orphan_s = self._drain_s = 0.0
        self._draining = False
        self._cut = 0
        self._failures_due = False
        self._beat_due_s = 0.0
        self.ended: asyncio.Future[int] = self._loop.create_future()
        channel.attach(self._loop, self._on_message, self._on_supervisor_lost)

    # ---- Turning -------------------------------------------------------------------------------

    def _turn(self) -> None:
        """Serves until there is something else to do; then the loop does that, and comes here again."""
        if self._engine is None or self.ended.done():
            return
        found = self._engine.serve(self._due.wait_ms(DRAINED_S_MAX if self._draining else BEAT_S))
        if found & FAILURES_SEEN and not self._failures_due:
            self._failures_due = True
            self._due.later(FAILURES_EVERY_S, self._tell_failures)
        self._due.run()
        if self._draining and self._open == 0:
            self._tell({"type": "drained", "cut": self._cut})
            self._end(0)
        self._loop.call_soon(self._turn)

    @property
    def _open(self) -> int:
        return self._engine.sessions_open if self._engine is not None else 0

    def _tell_failures(self) -> None:
        """The engine adds them up while the supervisor reads nothing: it may be stopped, and a channel whose
        queue is full counts as closed."""
        assert self._engine is not None
        if self._channel.waits:
            self._due.later(FAILURES_EVERY_S, self._tell_failures)
            return
        self._failures_due = False
        failures = iter(self._engine.take_failures().items())
        while some := {str(key): value for key, value in islice(failures, FAILED_PER_MESSAGE_MAX)}:
            self._tell({"type": "failures", "endpoints": some})

    def _beat(self) -> None:
        assert self._engine is not None
        now_s = monotonic()
        self._engine.beat(max(int((now_s - self._beat_due_s) * 1e6), 0))
        self._beat_due_s = now_s + BEAT_S
        self._due.later(BEAT_S, self._beat)

    # ---- Orders --------------------------------------------------------------------------------

    def _on_message(self, message: Message, fds: list[int]) -> None:
        order: Callable[[Message, list[int]], None] | None
        order = getattr(self, f"_do_{message['type']}", None)
        if order is None or (self._engine is None and message["type"] != "start"):
            close_all(fds)
            self._end(EXIT_LAYOUT, f"does not know the order {message['type']!r}")
            return
        order(message, fds)

    def _do_start(self, message: Message, fds: list[int]) -> None:
        try:
            if message["layout"] != LAYOUT:
                self._end(EXIT_LAYOUT, f"layout {LAYOUT}, where the supervisor has {message['layout']}")
                return
            self._engine = Engine(
                worker=message["worker"],
                sessions_max=message["sessions_max"],
                sessions_max_all=message.get("sessions_max_all", 0),
                pipes_max=message["pipes_max"],
                board_fd=fds[0],
                ring_fd=fds[1] if message["access"] else -1,
            )
        except ValueError as error:
            self._end(EXIT_LAYOUT, str(error))
            return
        finally:
            close_all(fds)
        self._orphan_s, self._drain_s = message["orphan_s"], message["drain_s"]
        self._engine.watch(self._loop._get_backend_id())  # type: ignore[attr-defined]
        self._beat_due_s = monotonic()
        self._beat()
        self._loop.call_soon(self._turn)
        self._tell({"type": "started", "pid": os.getpid(), "layout": LAYOUT})

    def _do_publish(self, message: Message, fds: list[int]) -> None:
        assert self._engine is not None
        try:
            generation = self._engine.publish(fds[0])
        except ValueError as error:
            self._tell({"type": "refused", "generation": message["generation"], "why": str(error)})
        else:
            self._tell({"type": "published", "generation": generation})
        finally:
            close_all(fds)

    def _do_listen(self, message: Message, fds: list[int]) -> None:
        assert self._engine is not None
        if self._draining:
            close_all(fds)
            return
        accepting, why = [], ""
        for number, listener, fd in zip(message["sockets"], message["listeners"], fds, strict=True):
            try:
                self._engine.listen(number, listener, fd)
            except (OSError, ValueError) as error:  # the others are served all the same
                why = str(error)
            else:
                accepting.append(number)
        first = message["sockets"][0]
        self._tell({"type": "listening", "sockets": accepting, "first": first, "why": why})

    def _do_unlisten(self, message: Message, fds: list[int]) -> None:
        assert self._engine is not None
        for number in message["sockets"]:
            self._engine.unlisten(number)
        self._tell({"type": "unlistened", "sockets": message["sockets"]})

    def _do_close(self, message: Message, fds: list[int]) -> None:
        self._close_from(0, message.get("endpoint", -1), message.get("listener", -1), message["reason"])

    def _do_drain(self, message: Message, fds: list[int]) -> None:
        assert self._engine is not None
        self._engine.unlisten_all()
        self._draining = True
        self._due.later(message["deadline_s"], self._drain_is_over)

    def _do_stop(self, message: Message, fds: list[int]) -> None:
        self._end(0)

    # ---- Ending --------------------------------------------------------------------------------

    def _close_from(self, slot: int, endpoint: int, listener: int, reason: str) -> None:
        """A bounded number of sessions per turn; those that stay are served in between."""
        assert self._engine is not None
        following = self._engine.close_some(endpoint, listener, reason, slot)
        if following >= 0:
            self._due.later(0, self._close_from, following, endpoint, listener, reason)

    def _drain_is_over(self) -> None:
        self._cut = self._open
        self._close_from(0, -1, -1, "shutdown")

    def _on_supervisor_lost(self) -> None:
        if self._engine is None:
            self._end(0)
            return
        self._loop.add_signal_handler(signal.SIGTERM, self._leave)  # lb/shell/orphans.py sends it
        self._due.later(self._orphan_s, self._leave)

    def _leave(self) -> None:
        if not self._draining:
            self._do_drain({"deadline_s": self._drain_s}, [])

    def _tell(self, message: Message) -> None:
        try:
            self._channel.send(message)
        except ChannelClosed:
            if self._channel.fileno() != -1:
                self._channel.close()
                self._on_supervisor_lost()

    def _end(self, code: int, why: str = "") -> None:
        if why:
            print(f"lb worker {os.getpid()}: {why}", file=sys.stderr)
        if not self.ended.done():
            self.ended.set_result(code)

    def close(self) -> None:
        self._channel.close()
        if self._engine is not None:
            self._engine.close()


async def serve(channel_fd: int) -> int:
    worker = Worker(Channel(socket.socket(fileno=channel_fd)))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    gc.collect()
    gc.freeze()
    try:
        return await worker.ended
    finally:
        worker.close()


def main(arguments: list[str]) -> Any:
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(serve(int(arguments[0])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
