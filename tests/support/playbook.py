"""A script for the brain that reads like the exchange it describes: `>>` what happens, `<<` what is answered.

    probe = Slot()
    assert (
        Playbook(brain)
        >> ConfigLoaded(config) << PublishSnapshot
        >> 1.0 << StartProbe(probe, A, address, check)
        >> ProbeFinished(probe(), A, PASSED)
    )

A number lets seconds pass, and the Ticks that the brain asked for come at their time. Every command must be
answered for, in order, before the next event and at the end (`assert`); WakeAt is obeyed and Emit is
collected, so neither is written. An expected command is an instance, where a Slot stands for what is not
known yet, or a class, where nothing but the kind matters. The form is that of mitmproxy's Playbook.
"""

from __future__ import annotations

from typing import TypeVar

from lb.core.brain import Brain
from lb.core.commands import Command, Emit, PublishSnapshot, WakeAt
from lb.core.events import Event, Tick
from lb.model.record import Record
from lb.model.snapshot import Snapshot

Kind = TypeVar("Kind")

TICKS_MAX = 100_000  # in one stretch of time: more is a brain that asks to be woken at once, for ever


class Slot:
    """Equals whatever it is compared with first, and from then on only that. Calling it gives the value."""

    def __init__(self) -> None:
        self._values: list[object] = []

    def __eq__(self, other: object) -> bool:
        if not self._values:
            self._values.append(other)
        return self._values[0] == other

    __hash__ = None  # type: ignore[assignment]  # it changes what it equals

    def __call__(self):  # type: ignore[no-untyped-def]  # whatever the test takes it for
        assert self._values, "nothing was put into this slot yet"
        return self._values[0]

    def __repr__(self) -> str:
        return f"Slot({', '.join(map(repr, self._values))})"


class Playbook:
    """`records` are those of the last `>>`; `snapshot` is the last one published."""

    def __init__(self, brain: Brain, now: float = 0.0) -> None:
        self.brain, self.now = brain, now
        self.records: list[Record] = []
        self.snapshot = Snapshot(0, (), (), ())
        self._unanswered: list[Command] = []
        self._wake_s: float | None = None

    def __rshift__(self, happening: Event | float) -> Playbook:
        self._check_all_answered()
        self.records.clear()
        if isinstance(happening, int | float):
            self._pass_time(self.now + happening)
        else:
            self._handle(happening)
        return self

    def __lshift__(self, expected: Command | type[Command] | Slot) -> Playbook:
        assert self._unanswered, f"nothing more was commanded; expected {expected}"
        command = self._unanswered.pop(0)
        if isinstance(expected, type):
            assert isinstance(command, expected), f"{command} is no {expected.__name__}"
        else:
            assert expected == command, f"commanded: {command}\nexpected:  {expected}"
        return self

    def __bool__(self) -> bool:
        self._check_all_answered()
        return True

    def skip(self) -> Playbook:
        """What was commanded so far does not matter here."""
        self._unanswered.clear()
        return self

    def take(self, kind: type[Kind]) -> list[Kind]:
        """Answers for everything commanded so far, and gives what is of this kind (`object`: all)."""
        taken: list[Kind] = [command for command in self._unanswered if isinstance(command, kind)]
        self._unanswered.clear()
        return taken

    def recorded(self, event: str, **facts: object) -> list[Record]:
        """The records of the last `>>` of this kind that state these facts; `from_` stands for `from`."""
        wanted = {name.rstrip("_"): value for name, value in facts.items()}
        return [each for each in self.records if each.event == event and wanted.items() <= each.facts.items()]

    def eligible(self, pool: str) -> str:
        """Names of the endpoints that the last snapshot sends sessions of this pool to."""
        [line] = [line for line in self.snapshot.pools if line is not None and line.name == pool]
        lines = [self.snapshot.endpoints[number] for number in line.eligible]
        return " ".join(sorted(line.name for line in lines if line is not None))

    def _pass_time(self, until: float) -> None:
        ticks = 0
        while self._wake_s is not None and self._wake_s <= until:
            self.now, self._wake_s = max(self.now, self._wake_s), None
            self._handle(Tick())
            ticks += 1
            assert ticks < TICKS_MAX, f"the brain asks for {self._wake_s} at {self.now}"
        self.now = until

    def _handle(self, event: Event) -> None:
        for command in self.brain.handle(event, self.now):
            if isinstance(command, WakeAt):
                self._wake_s = command.at_s
            elif isinstance(command, Emit):
                self.records.append(command.record)
            else:
                self._unanswered.append(command)
            if isinstance(command, PublishSnapshot):
                self.snapshot = command.snapshot

    def _check_all_answered(self) -> None:
        assert not self._unanswered, "commanded and not expected:\n" + "\n".join(map(str, self._unanswered))
