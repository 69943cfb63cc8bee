"""The crew: the worker processes, kept alive, and the listening sockets, kept served.

The life of a worker is one task, `_live`: spawn, introduce, serve until it dies, replace. Around it there is one
rule, `_deal`, which is asked after every change and hands each worker what it should hold now: its own socket of
every group, and those of each worker it stands in for. It compares and sends the difference, so it may be asked
at any time.

    a worker dies          its sockets are lent in the same turn of the loop, then it is replaced
    it falls silent        they are lent too: two processes accept from one queue, which is harmless
    it serves (again)      it has acknowledged its own sockets by then; the loans are called back
    a group opens, leaves  the same rule, over more or fewer groups

Invariants
    Every introduced worker gets every snapshot, in order, before any socket whose listener needs it.
    A worker that leaves a question unanswered in time is killed, and replaced like one that died.
    Every wait has a deadline. No process outlives `stop`, and none is left a zombie.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from lb.core.commands import CloseSessions
from lb.model.address import Address
from lb.model.listener import Listener
from lb.model.record import Record
from lb.model.snapshot import Snapshot
from lb.shell.binding import Binder, Bound, Standing
from lb.shell.control import Message
from lb.shell.heartbeat import LOOK_NS, Heartbeats
from lb.shell.lending import lend
from lb.shell.worker_process import LAYOUT_DIFFERS, WORKER_COMMAND, ending
from lb.shell.worker_slot import Asked, Published, State, Wanted, WorkerSlot

START_S_MAX = 10.0
ANSWER_S_MAX = 2.0  # a worker's step is bounded by 1 ms; what takes 2 s will take for ever
STOP_S_MAX = 2.0
DRAIN_GRACE_S = 1.0  # for the worker itself to end what is left at the deadline
EMPTY_AT_DRAIN_S_MAX = 1.0  # a SYN-ACK that got lost is sent again after 1 s; a scanner's never gets its answer
EARLY_DEATHS_MAX = 3  # per worker, in start()


class WorkerCounts(Protocol):
    @property
    def sessions_open(self) -> int: ...
    @property
    def heartbeat_ns(self) -> int: ...


class Board(Protocol):
    """The supervisor's side of the scoreboard, as far as the crew needs it: `datapath.Board`."""

    @property
    def fd(self) -> int: ...
    def worker(self, index: int) -> WorkerCounts: ...
    def forget_worker(self, index: int) -> None: ...


class Ring(Protocol):
    @property
    def fd(self) -> int: ...


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What every worker is started with. The maxima are those of one worker."""

    layout: int
    sessions_max: int
    pipes_max: int
    access: bool
    orphan_s: float
    drain_s: float


@dataclass(frozen=True, slots=True)
class WorkerView:
    """`state`: starting, serving, silent or dead. `pid` None: there is no process now."""

    index: int
    pid: int | None
    state: str
    restarts_total: int
    sessions_open: int


class CrewError(Exception):
    """No worker could start."""


class SnapshotRefused(Exception):
    """Workers found a snapshot invalid: a defect of ours. The one before stays in force everywhere."""


class Crew:
    """`rings`: one per worker. `cpus` None: no pinning. Callbacks come from the loop and are not to raise.

    `compile_snapshot` returns a descriptor, which is the crew's from then on.
    `on_failures(endpoint_id, {reason: count})`: sessions could not connect there.
    """

    def __init__(
        self,
        *,
        count: int,
        cpus: Sequence[int] | None,
        board: Board,
        rings: Sequence[Ring],
        settings: WorkerSettings,
        compile_snapshot: Callable[[Snapshot], int],
        on_failures: Callable[[int, Mapping[str, int]], None],
        on_event: Callable[[Record], None],
        worker_command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._board = board
        self._rings = rings
        self._settings = settings
        self._compile_snapshot = compile_snapshot
        self._on_failures = on_failures
        self._on_event = on_event
        self._command = tuple(worker_command)
        self._slots = [WorkerSlot(index, cpus[index % len(cpus)] if cpus else None) for index in range(count)]
        self._binder = Binder(count, self._group_ended)
        self._loans: dict[int, int] = {}
        self._published: Published | None = None
        self._publishing = asyncio.Lock()
        self._lives: list[asyncio.Task[None]] = []
        self._changed = asyncio.Event()
        self._retiring = False
        self._watch: asyncio.Task[None] | None = None
        self._last_end = ""
        self._sessions_lost = 0

    # ---- What stands ----

    def workers(self) -> list[WorkerView]:
        return [
            WorkerView(
                slot.index,
                slot.process.pid if slot.process else None,
                slot.state.value,
                slot.restarts_total,
                self._board.worker(slot.index).sessions_open,
            )
            for slot in self._slots
        ]

    def addresses(self) -> dict[str, tuple[Address, ...]]:
        """Where each listener really listens: port 0 became a port."""
        found: dict[str, tuple[Address, ...]] = {}
        for standing in self._binder.standing():
            found[standing.listener] = (*found.get(standing.listener, ()), standing.group.address)
        return found

    @property
    def accepting(self) -> bool:
        """Every listener is listened to by some worker."""
        return all(
            any(slot.accepts_from(member.number) for member in standing.group.sockets for slot in self._slots)
            for standing in self._binder.standing()
        )

    # ---- Starting ----

    async def start(self) -> None:
        """Returns when all workers serve, or when time is up and some do. Raises CrewError if none can."""
        self._watch = asyncio.create_task(self._listen_to_hearts())
        self._lives = [asyncio.create_task(self._live(slot)) for slot in self._slots]
        try:
            async with asyncio.timeout(START_S_MAX):
                while not all(slot.state is State.SERVING for slot in self._slots) and not self._hopeless():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            self._last_end = self._last_end or f"none was ready within {START_S_MAX:.0f} s"
        if not any(slot.state is State.SERVING for slot in self._slots):
            await self.stop()
            raise CrewError(f"no worker could start: {self._last_end}")

    def _hopeless(self) -> bool:
        tried = [slot.backoff.deaths for slot in self._slots]
        return min(tried) >= EARLY_DEATHS_MAX or self._last_end == ending(LAYOUT_DIFFERS)

    # ---- The life of a worker ----

    async def _live(self, slot: WorkerSlot) -> None:
        while not self._retiring:
            born = time.monotonic()
            try:
                process = slot.fill(self._command, self._heard)
            except OSError as error:
                self._lost(slot, f"cannot be started: {error}")
            else:
                await self._serve(slot)
                self._lost(slot, ending(await process.exited))
            if not self._retiring:
                await asyncio.sleep(slot.backoff.after(time.monotonic() - born))
                slot.restarts_total += 1

    async def _serve(self, slot: WorkerSlot) -> None:
        ...
