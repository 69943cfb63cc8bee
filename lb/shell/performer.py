"""The brain's hands: events go in, and each command that comes out is performed, in order.

Nothing here decides, and nothing waits: what takes time (a probe, a snapshot on its way to the workers) is
started, and reports back by an event. An event that a command brings about at once is handled after the
commands before it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from lb.core.brain import Brain
from lb.core.commands import (
    CancelProbe,
    CloseSessions,
    Command,
    CountSessions,
    Emit,
    ForgetEndpoint,
    ForgetListener,
    ForgetPool,
    PublishSnapshot,
    StartProbe,
    WakeAt,
)
from lb.core.events import Event, SessionsCounted, Tick
from lb.model.record import Record
from lb.shell.datapath import Board
from lb.shell.probes import Probes
from lb.shell.publisher import Publisher

TICK_AFTER_BUG_S = 1.0


class Performer:
    """`emit` takes records; `on_bug` what was being done, and the exception that nobody expected of it."""

    def __init__(
        self,
        brain: Brain,
        board: Board,
        publisher: Publisher,
        probes: Probes,
        emit: Callable[[Record], None],
        on_bug: Callable[[str, Exception], None],
    ) -> None:
        self.brain = brain
        self._board, self._publisher, self._probes = board, publisher, probes
        self._emit, self._on_bug = emit, on_bug
        self._loop = asyncio.get_running_loop()
        self._commands = deque[Command]()
        self._performing = False
        self._now_s = 0.0  # it never goes back
        self._wake: asyncio.TimerHandle | None = None

    def order(self, event: Event, not_before_s: float = 0.0) -> None:
        """Raises what the brain raises, and then nothing has changed."""
        self._now_s = max(self._now_s, self._loop.time(), not_before_s)
        self._commands.extend(self.brain.handle(event, self._now_s))
        self._perform_all()

    def handle(self, event: Event, not_before_s: float = 0.0) -> None:
        """For events of the world: never raises. A bug in the brain is told, and must not stop the clock."""
        try:
            self.order(event, not_before_s)
        except Exception as error:
            self._on_bug(f"handling {type(event).__name__}", error)
            self._wake_at(self._loop.time() + TICK_AFTER_BUG_S)

    def stop(self) -> None:
        if self._wake is not None:
            self._wake.cancel()

    def _perform_all(self) -> None:
        if self._performing:
            return
        self._performing = True
        try:
            while self._commands:
                command = self._commands.popleft()
                try:
                    self._perform(command)
                except Exception as error:
                    self._on_bug(f"performing {type(command).__name__}", error)
        finally:
            self._performing = False

    def _perform(self, command: Command) -> None:
        match command:
            case PublishSnapshot(snapshot):
                self._publisher.submit(snapshot)
            case StartProbe():
                self._probes.start(command)
            case CancelProbe():
                self._probes.cancel(command)
            case CloseSessions():
                self._publisher.close_sessions(command)
            case WakeAt(at_s):
                self._wake_at(at_s)
            case CountSessions():
                self.handle(self._sessions())
            case ForgetEndpoint(endpoint_id, key):
                self._publisher.forget_endpoint(endpoint_id)
                self._board.forget_endpoint(endpoint_id)
                self._probes.forget(key)
            case ForgetListener(listener_id):
                self._board.forget_listener(listener_id)
            case ForgetPool(pool_id):
                self._board.forget_pool(pool_id)
            case Emit(record):
                self._emit(record)

    def _sessions(self) -> SessionsCounted:
        return SessionsCounted(
            endpoints=self._board.sessions_open_by_endpoint(),
            listeners=self._board.sessions_open_by_listener(),
        )

    def _wake_at(self, at_s: float) -> None:
        """uvloop rounds to milliseconds and may call a little early; the brain asked for that time."""
        self.stop()
        self._wake = self._loop.call_at(at_s, self.handle, Tick(), at_s)
