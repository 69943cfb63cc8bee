"""The lives of the workers: each is spawned, introduced, watched while it serves, and replaced when it dies.

A life is one task, `_live`, read from top to bottom; its process may end at any line of it. What workers are
told, and what follows when one begins or ceases to serve, is the crew's business: `brief` and `on_change`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from lb.shell.control import Message
from lb.shell.heartbeat import LOOK_NS, Heartbeats
from lb.shell.unattended import unattended
from lb.shell.worker_process import LAYOUT_DIFFERS, WorkerProcess, ending
from lb.shell.worker_slot import Asked, State, WorkerSlot

START_S_MAX = 10.0
EARLY_DEATHS_MAX = 3  # of a worker, before a start goes on without it


class WorkerCounts(Protocol):
    @property
    def sessions_open(self) -> int: ...
    @property
    def heartbeat_ns(self) -> int: ...


class Board(Protocol):
    """The supervisor's side of the scoreboard, as far as it is about workers: `datapath.Board`."""

    @property
    def fd(self) -> int: ...
    def worker(self, index: int) -> WorkerCounts: ...
    def forget_worker(self, index: int) -> None: ...


class Ring(Protocol):
    @property
    def fd(self) -> int: ...


class Emit(Protocol):
    def __call__(self, event: str, level: str = "info", **facts: object) -> None: ...


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What each worker is started with: its own maxima, and `sessions_max_all` of all together (0: none)."""

    layout: int
    sessions_max: int
    pipes_max: int
    access: bool
    orphan_s: float
    drain_s: float
    sessions_max_all: int = 0


class CrewError(Exception):
    """No worker could start."""


class WorkerLives:
    """`brief(slot)` tells a worker that has just started what it must know before it serves.

    `on_change()` comes whenever a worker begins or ceases to serve.
    """

    def __init__(
        self,
        slots: Sequence[WorkerSlot],
        *,
        command: Sequence[str],
        board: Board,
        rings: Sequence[Ring],
        settings: WorkerSettings,
        brief: Callable[[WorkerSlot], list[Asked]],
        on_change: Callable[[], object],
        on_message: Callable[[Message], None],
        emit: Emit,
    ) -> None:
        self._slots = slots
        self._command = tuple(command)
        self._board, self._rings, self._settings = board, rings, settings
        self._brief, self._on_change, self._on_message = brief, on_change, on_message
        self._emit = emit
        self._tasks: list[asyncio.Task[None]] = []
        self._watch: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._retiring = False
        self._last_end = ""

    async def start(self) -> None:
        """Returns when all serve that can; the others are tried on. Raises CrewError if none can."""
        self._tasks = [unattended(self._live(slot), f"life of worker {slot.index}") for slot in self._slots]
        self._watch = unattended(self._watch_heartbeats(), "the watch over heartbeats")
        try:
            async with asyncio.timeout(START_S_MAX):
                while not self._settled():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self._last_end = self._last_end or f"none was ready within {START_S_MAX:.0f} s"
        if not any(slot.state is State.SERVING for slot in self._slots):
            raise CrewError(f"no worker could start: {self._last_end}")

    def retire(self) -> None:
        """Nobody is replaced any more, and who is not at work yet need not begin."""
        self._retiring = True
        for slot, task in zip(self._slots, self._tasks, strict=False):  # no tasks before start()
            if slot.process is None:
                task.cancel()
            elif not slot.introduced:
                slot.process.kill()

    async def all_ended(self, s_max: float) -> None:
        """After `retire`: wait for the workers to end, and kill those that did not within `s_max`."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=s_max)
            for slot in self._slots:
                if slot.process:
                    slot.process.kill()
            await asyncio.wait(self._tasks)
        if self._watch:
            self._watch.cancel()

    async def _live(self, slot: WorkerSlot) -> None:
        while not self._retiring:
            born = time.monotonic()
            try:
                process = slot.fill(self._command, self._on_message)
            except OSError as error:
                about = f": {error.filename}" if error.filename else ""
                end = f"it cannot be started: {error.strerror}{about}"
            else:
                if not await self._introduced(slot, process):
                    process.kill()
                await asyncio.wait([process.exited])
                end = ending(process.exited.result())
            delay_s = slot.backoff.after(time.monotonic() - born)
            self._lost(slot, end, delay_s)
            if not self._retiring:
                await asyncio.sleep(delay_s)
                slot.restarts_total += 1

    async def _introduced(self, slot: WorkerSlot, process: WorkerProcess) -> bool:
        """Tell a new worker all that the others know. False: it did not follow."""
        message = {"type": "start", "worker": slot.index, **asdict(self._settings)}
        fds = [self._board.fd, self._rings[slot.index].fd]
        try:
            async with asyncio.timeout(START_S_MAX):
                if await process.ask(message, fds, answer="started") is None:
                    return False
                slot.introduced = True
                for _, answer in self._brief(slot):
                    reply = await answer
                    if reply is None or reply["type"] == "refused":
                        return False
        except TimeoutError:
            return False
        slot.serving_since_ns = time.monotonic_ns()
        self._enter(slot, State.SERVING)
        self._emit("worker_started", worker=slot.index, pid=process.pid)
        return True

    def _lost(self, slot: WorkerSlot, end: str, delay_s: float) -> None:
        """Its sockets are lent before anything else is done."""
        pid = slot.process.pid if slot.process else None
        slot.vacate()
        self._enter(slot, State.DEAD)
        slot.sessions_lost = self._board.worker(slot.index).sessions_open
        self._board.forget_worker(slot.index)
        self._last_end = end
        if not self._retiring:
            self._emit(
                "worker_lost",
                "error",
                worker=slot.index,
                pid=pid,
                end=end,
                sessions_lost=slot.sessions_lost,
                replaced_in_s=delay_s,
            )

    async def _watch_heartbeats(self) -> None:
        heartbeats = Heartbeats(time.monotonic_ns())
        while True:
            await asyncio.sleep(LOOK_NS / 1e9)
            alive = [slot for slot in self._slots if slot.state in (State.SERVING, State.SILENT)]
            signs = {
                slot.index: max(self._board.worker(slot.index).heartbeat_ns, slot.serving_since_ns)
                for slot in alive
            }
            silent = heartbeats.silent(time.monotonic_ns(), signs)
            if silent is not None:
                for slot in alive:
                    self._judge(slot, slot.index in silent)

    def _judge(self, slot: WorkerSlot, silent: bool) -> None:
        pid = slot.process.pid if slot.process else None
        if silent and slot.state is State.SERVING:
            self._enter(slot, State.SILENT)
            self._emit("worker_silent", "warning", worker=slot.index, pid=pid)
        elif not silent and slot.state is State.SILENT:
            self._enter(slot, State.SERVING)
            self._emit("worker_recovered", worker=slot.index, pid=pid)

    def _enter(self, slot: WorkerSlot, state: State) -> None:
        slot.state = state
        self._on_change()
        self._changed.set()

    def _settled(self) -> bool:
        """While starting: there is nothing more to wait for."""
        return self._last_end == ending(LAYOUT_DIFFERS) or all(
            slot.state is State.SERVING or slot.backoff.deaths >= EARLY_DEATHS_MAX for slot in self._slots
        )
