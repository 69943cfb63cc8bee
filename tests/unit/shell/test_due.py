"""What a worker does later: in order of time, and what is asked for meanwhile waits its turn."""

from __future__ import annotations

from lb.shell.due import Due


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_due_runs_in_order_of_time_then_of_asking() -> None:
    clock, seen = Clock(), list[str]()
    due = Due(clock)
    for after, name in ((2.0, "late"), (1.0, "first"), (1.0, "second"), (3.5, "not yet")):
        due.later(after, seen.append, name)
    clock.now += 2.0
    due.run()
    assert seen == ["first", "second", "late"]


def test_due_of_a_callback_waits_for_the_next_run() -> None:
    clock, seen = Clock(), list[str]()
    due = Due(clock)

    def again() -> None:
        seen.append("x")
        due.later(0, again)

    due.later(0, again)
    due.run()
    assert seen == ["x"]
    due.run()
    assert seen == ["x", "x"]


def test_due_waits_for_the_first_and_never_wakes_early() -> None:
    clock = Clock()
    due = Due(clock)
    assert due.wait_ms(0.25) == 250
    due.later(0.0101, print)
    assert due.wait_ms(0.25) == 11
    clock.now += 1
    assert due.wait_ms(0.25) == 0
