"""Each command is performed, in order; nothing that goes wrong stops the brain's clock."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lb.core.brain import UnknownEndpoint
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
from lb.core.events import Event, OperatorOrdered, SessionsCounted, Tick
from lb.model.address import Address
from lb.model.cause import Reason
from lb.model.check import Check
from lb.model.endpoint import EndpointKey
from lb.model.record import Record
from lb.model.snapshot import Snapshot
from lb.shell import performer as module
from lb.shell.performer import Performer
from tests.support.async_waiting import until

KEY = EndpointKey("web", "a")
ORDER = OperatorOrdered(KEY)
PUBLISH = PublishSnapshot(Snapshot(7, (), (), ()))
START = StartProbe(1, KEY, Address("10.0.0.1", 80), Check())
CLOSE = CloseSessions(Reason.DRAINED, endpoint_id=3)


class ScriptedBrain:
    """Answers each event with the next of the script: commands, or an exception to raise."""

    def __init__(self, *script: list[Command] | Exception) -> None:
        self._script = list(script)
        self.handled: list[tuple[Event, float]] = []

    def handle(self, event: Event, now: float) -> list[Command]:
        self.handled.append((event, now))
        answer = self._script.pop(0) if self._script else []
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def events(self) -> list[Event]:
        return [event for event, _ in self.handled]


class Hands:
    """The board, the publisher and the probes at once: what they are told stands in the journal."""

    def __init__(self, brain: ScriptedBrain) -> None:
        self.journal: list[str] = []
        self.bugs: list[str] = []
        self.failing = ""
        everything: Any = self
        scripted: Any = brain
        self.performer = Performer(
            scripted, everything, everything, everything, self._emit, lambda where, _: self.bugs.append(where)
        )

    def __getattr__(self, name: str) -> Any:
        def told(*arguments: object) -> None:
            self.journal.append(name)
            if name == self.failing:
                raise RuntimeError(name)

        return told

    def _emit(self, record: Record) -> None:
        self.journal.append(f"emit {record.event}")

    def sessions_open_by_endpoint(self) -> dict[int, int]:
        self.journal.append("count")
        return {3: 1}

    def sessions_open_by_listener(self) -> dict[int, int]:
        return {}


async def test_commands_are_performed_in_order() -> None:
    hands = Hands(ScriptedBrain([PUBLISH, CLOSE, CancelProbe(1), START, Emit(Record("said"))]))
    hands.performer.handle(Tick())
    assert hands.journal == ["submit", "close_sessions", "cancel", "start", "emit said"]


async def test_what_is_forgotten_is_forgotten_by_all() -> None:
    hands = Hands(ScriptedBrain([ForgetEndpoint(3, KEY), ForgetListener(1, "web"), ForgetPool(2, "web")]))
    hands.performer.handle(Tick())
    assert sorted(hands.journal) == [
        "forget", "forget_endpoint", "forget_endpoint", "forget_listener", "forget_pool",
    ]  # fmt: skip


async def test_count_is_answered_after_the_commands_that_came_with_it() -> None:
    brain = ScriptedBrain([CountSessions(), Emit(Record("first"))], [Emit(Record("second"))])
    hands = Hands(brain)
    hands.performer.handle(Tick())
    assert brain.events == [Tick(), SessionsCounted({3: 1}, {})]
    assert hands.journal == ["count", "emit first", "emit second"]


async def test_brain_is_woken_when_it_asked_to_be_and_not_before() -> None:
    brain = ScriptedBrain()
    hands = Hands(brain)
    asked_s = asyncio.get_running_loop().time() + 0.03
    hands.performer._perform(WakeAt(asked_s))
    await until(lambda: brain.handled, "the tick")
    event, now = brain.handled[0]
    assert event == Tick()
    assert now >= asked_s


async def test_time_that_is_asked_for_replaces_the_one_before() -> None:
    now = asyncio.get_running_loop().time()
    brain = ScriptedBrain([WakeAt(now + 0.01)], [WakeAt(now + 3600)])
    hands = Hands(brain)
    hands.performer.handle(ORDER)
    hands.performer.handle(ORDER)
    later = asyncio.Event()
    asyncio.get_running_loop().call_at(now + 0.02, later.set)
    await later.wait()
    assert brain.events == [ORDER, ORDER]
    hands.performer.stop()


async def test_time_never_goes_back_for_the_brain() -> None:
    brain = ScriptedBrain()
    performer = Hands(brain).performer
    ahead_s = asyncio.get_running_loop().time() + 1
    performer.handle(Tick(), ahead_s)
    performer.handle(ORDER)
    assert [now for _, now in brain.handled] == [ahead_s, ahead_s]


async def test_order_that_is_refused_raises_and_performs_nothing() -> None:
    hands = Hands(ScriptedBrain(UnknownEndpoint(KEY)))
    with pytest.raises(UnknownEndpoint):
        hands.performer.order(ORDER)
    assert (hands.journal, hands.bugs) == ([], [])


async def test_bug_in_the_brain_is_told_and_the_clock_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TICK_AFTER_BUG_S", 0.01)
    brain = ScriptedBrain(RuntimeError("defect"), [Emit(Record("alive"))])
    hands = Hands(brain)
    hands.performer.handle(Tick())
    assert hands.bugs == ["handling Tick"]
    await until(lambda: hands.journal == ["emit alive"], "the next tick")


async def test_command_that_fails_is_told_and_the_others_are_performed() -> None:
    hands = Hands(ScriptedBrain([PUBLISH, START, CLOSE]))
    hands.failing = "start"
    hands.performer.handle(Tick())
    assert hands.bugs == ["performing StartProbe"]
    assert hands.journal == ["submit", "start", "close_sessions"]
