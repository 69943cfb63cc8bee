"""The crew: the worker processes and the listening sockets that they serve.

One rule decides who holds what, `_deal`: each worker its own socket of every group, and those of each worker
that it stands in for. It compares with what is held and sends the difference; it is asked after any change:

    a worker dies            its sockets are lent before anything else; then it is replaced
    it falls silent          they are lent too; two processes accepting from one queue do no harm
    it serves, or again      it acknowledged its own sockets before; the loans are called back
    a group opens or leaves  the same rule over more or fewer groups

Invariants
    Every worker gets every snapshot, in order, before any socket whose listener needs it.
    A worker that leaves a question unanswered in time is killed, and replaced like one that died.
    Every wait has a deadline. No process outlives `stop`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from lb.core.commands import CloseSessions
from lb.model.address import Address, SocketAddress, UnixAddress, spans
from lb.model.listener import Listener
from lb.model.record import Record
from lb.model.snapshot import Snapshot
from lb.shell.binding import Binder, Bound, Group, Standing
from lb.shell.control import Message
from lb.shell.lending import lend
from lb.shell.worker_lives import Board, CrewError, Ring, WorkerLives, WorkerSettings
from lb.shell.worker_process import WORKER_COMMAND, Answer, WorkerProcess
from lb.shell.worker_slot import Asked, Published, State, Wanted, WorkerSlot

__all__ = ["Board", "Crew", "CrewError", "Ring", "SnapshotRefused", "WorkerSettings", "WorkerView"]

ANSWER_S_MAX = 2.0  # a step of the engine is bounded by 1 ms: what takes 2 s will take for ever
STOP_S_MAX = 2.0
LISTEN_AGAIN_S = 1.0
DRAIN_GRACE_S = 1.0  # for the worker to end, by itself, what is left at the deadline
EMPTY_AT_DRAIN_S_MAX = 1.0  # a scanner's handshake never completes, and clients are to be refused soon


@dataclass(frozen=True, slots=True)
class WorkerView:
    """`state`: starting, serving, silent or dead. `pid` None: there is no process now."""

    index: int
    pid: int | None
    state: str
    restarts_total: int
    sessions_open: int


class SnapshotRefused(Exception):
    """Workers found a snapshot unsound: a defect of ours. The one before stays in force everywhere."""


class Crew:
    """`rings`: one per worker. `cpus` None: no pinning. Callbacks come from the loop, and are not to raise.

    `compile_snapshot` returns a descriptor, which is the crew's from then on.
    `on_failures(endpoint_id, {reason: count}, in_row)`: it failed sessions, so many in a row.
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
        on_failures: Callable[[int, Mapping[str, int], int], None],
        on_event: Callable[[Record], None],
        worker_command: Sequence[str] = WORKER_COMMAND,
    ) -> None:
        self._board = board
        self._compile_snapshot = compile_snapshot
        self._on_failures = on_failures
        self._on_event = on_event
        self._slots = [WorkerSlot(index, cpus[index % len(cpus)] if cpus else None) for index in range(count)]
        self._lives = WorkerLives(
            self._slots,
            command=worker_command,
            board=board,
            rings=rings,
            settings=settings,
            brief=self._brief,
            on_change=self._deal,
            on_message=self._heard,
            emit=self._emit,
        )
        self._binder = Binder(count, self._group_ended)
        self._loans: dict[int, int] = {}
        self._ended: list[tuple[Standing, int]] = []
        self._published: Published | None = None
        self._publishing = asyncio.Lock()

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

    def addresses(self) -> dict[str, tuple[SocketAddress, ...]]:
        """Where each listener really listens: port 0 became a port."""
        found: dict[str, tuple[SocketAddress, ...]] = {}
        for standing in self._binder.standing():
            found[standing.listener] = (*found.get(standing.listener, ()), standing.group.address)
        return found

    @property
    def deaf(self) -> frozenset[str]:
        """The listeners at one of whose addresses no worker accepts."""
        return frozenset(
            standing.listener
            for standing in self._binder.standing()
            if not any(
                slot.accepts_from(member.number) for member in standing.group.sockets for slot in self._slots
            )
        )

    # ---- What the runner asks for ----

    async def start(self) -> None:
        """Returns within 10 s, when all serve that can. Raises CrewError if none can."""
        try:
            await self._lives.start()
        except CrewError:
            await self.stop()
            raise

    async def publish(self, snapshot: Snapshot) -> None:
        """Returns when every worker has it; the others are killed by then. Raises SnapshotRefused."""
        async with self._publishing:
            published = Published(snapshot.generation, self._compile_snapshot(snapshot))
            replaced, self._published = self._published, published
            asked = [one for slot in self._slots for one in slot.publish(published)]
            try:
                await self._all_answered(asked)
                answers = [answer.result() for _, answer in asked if answer.done()]
                refusals = {answer["why"] for answer in answers if answer and answer["type"] == "refused"}
                if refusals:
                    replaced, self._published = self._published, replaced
                    raise SnapshotRefused(f"generation {snapshot.generation}: {'; '.join(sorted(refusals))}")
            finally:
                if replaced:
                    os.close(replaced.fd)

    def bind(self, listeners: Sequence[Listener]) -> Bound:
        """Open the addresses that are not open yet: all, or raise BindError and change nothing.

        `open` is to follow, or `Bound.discard`. Before `start` it needs no running loop.
        """
        return self._binder.bind(listeners)

    async def open(self, bound: Bound, listener_ids: Mapping[str, int]) -> None:
        """Hand the sockets to the workers. They know the listeners' ids by a snapshot published before."""
        made = self._binder.take(bound, listener_ids)
        await self._all_answered(self._deal())
        for listener, groups in by_listener(made).items():
            self._emit("listener_opened", listener=listener, address=told(groups))

    async def close_absent(self, listeners: Sequence[Listener]) -> None:
        """Groups that none of these wants are emptied and ended, in the background."""
        self._binder.leave_absent(listeners)

    def close_sessions(self, command: CloseSessions) -> None:
        message: Message = {"type": "close", "reason": command.reason.value}
        if command.endpoint_id is not None:
            message["endpoint"] = command.endpoint_id
        else:
            message["listener"] = command.listener_id
        for slot in self._slots:
            if slot.process and slot.introduced:
                slot.process.tell(message)

    async def drain(self, deadline_s: float) -> int:
        """Admit no more, wait for the sessions to end, and the workers with them. Returns how many were cut.

        New clients are refused at once, by closed ports rather than by a queue that nobody serves.
        """
        ends_at = time.monotonic() + deadline_s
        at_work = [(slot, slot.process) for slot in self._slots if slot.process and slot.introduced]
        self._lives.retire()
        await self._binder.end_all(min(deadline_s, EMPTY_AT_DRAIN_S_MAX))
        self._settle_ended()
        left_s = max(ends_at - time.monotonic(), 0)
        message = {"type": "drain", "deadline_s": left_s}
        asked = [(slot, process.ask(message, answer="drained")) for slot, process in at_work]
        await self._lives.all_ended(left_s + DRAIN_GRACE_S)
        answers = [(slot, answer.result()) for slot, answer in asked]
        return sum(answer["cut"] if answer else slot.sessions_lost for slot, answer in answers)

    async def stop(self) -> None:
        """End everything now. May be called at any time, also while `drain` waits, and again."""
        self._lives.retire()
        for slot in self._slots:
            if slot.process:
                slot.process.tell({"type": "stop"})
        await self._lives.all_ended(STOP_S_MAX)
        self._binder.close()
        self._settle_ended()
        if self._published:
            os.close(self._published.fd)
            self._published = None

    # ---- Who holds what ----

    def _brief(self, slot: WorkerSlot) -> list[Asked]:
        """Tell a new worker what the others know."""
        asked = slot.publish(self._published) if self._published else []
        return asked + [one for one in self._deal() if one.process is slot.process]

    def _deal(self) -> list[Asked]:
        """Make every worker hold what it should hold now. Returns what it asked of them for that."""
        serving = {slot.index for slot in self._slots if slot.state is State.SERVING}
        absent = {slot.index for slot in self._slots} - serving
        self._loans = lend(absent, serving, self._loans)
        groups = self._binder.groups()
        asked: list[Asked] = []
        for slot in self._slots:
            borrowed = [owner for owner, borrower in self._loans.items() if borrower == slot.index]
            wanted = [
                Wanted(standing.group.of(owner), standing.listener_id)
                for standing in groups
                for owner in (slot.index, *borrowed)
            ]
            for one in slot.hold({one.member.number: one for one in wanted}):
                one.answer.add_done_callback(partial(self._ask_again, one.process))
                asked.append(one)
        return asked

    def _ask_again(self, process: WorkerProcess, answer: Answer) -> None:
        """Clients wait at a socket that its worker could not take: it is offered again soon."""
        message = None if answer.cancelled() else answer.result()
        if message is None or not message["why"]:
            return
        self._emit("worker_cannot_listen", "error", pid=process.pid, why=message["why"])
        asyncio.get_running_loop().call_later(LISTEN_AGAIN_S, self._deal)

    def _group_ended(self, standing: Standing, lost: int) -> None:
        """A range of ports ends in one turn of the loop: workers are told once, and so is the operator."""
        if not self._ended:
            asyncio.get_running_loop().call_soon(self._settle_ended)
        self._ended.append((standing, lost))

    def _settle_ended(self) -> None:
        ended, self._ended = self._ended, []
        if not ended:
            return
        self._deal()
        for listener, groups in by_listener([standing for standing, _ in ended]).items():
            lost = sum(lost for standing, lost in ended if standing.listener == listener)
            facts = {"listener": listener, "address": told(groups), "connections_lost": lost}
            self._emit("listener_closed", "warning" if lost else "info", **facts)
        for standing, _ in ended:
            if error := standing.group.left_behind:
                facts = {"listener": standing.listener, "address": str(standing.group.address)}
                self._emit("socket_file_left", "warning", **facts, error=error)

    async def _all_answered(self, asked: Sequence[Asked]) -> None:
        """A worker that does not answer in time is killed; its life goes on from there."""
        if asked:
            await asyncio.wait([one.answer for one in asked], timeout=ANSWER_S_MAX)
        for process in {one.process for one in asked if not one.answer.done()}:
            self._emit("worker_unresponsive", "error", pid=process.pid, waited_s=ANSWER_S_MAX)
            process.kill()

    def _heard(self, message: Message) -> None:
        if message["type"] == "failures":
            for endpoint_id, reasons in message["endpoints"].items():
                in_row = reasons.pop("in_row", 0)
                self._on_failures(int(endpoint_id), reasons, in_row)

    def _emit(self, event: str, level: str = "info", **facts: Any) -> None:
        self._on_event(Record(event, level, facts))


def by_listener(standing: Sequence[Standing]) -> dict[str, list[Group]]:
    found: dict[str, list[Group]] = {}
    for one in standing:
        found.setdefault(one.listener, []).append(one.group)
    return found


def told(groups: Sequence[Group]) -> str:
    addresses = [group.address for group in groups]
    ports = sorted(address for address in addresses if isinstance(address, Address))
    return ", ".join([*spans(ports), *(str(path) for path in addresses if isinstance(path, UnixAddress))])
