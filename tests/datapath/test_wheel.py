"""The wheel against an obvious one: a list that is searched from end to end at each turn."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from lb._ext.wheel import deadlines_met

SLOTS, LEVELS = 64, 5
SPAN_MS = SLOTS**LEVELS  # 12 days and some
BOUNDARIES = sorted(
    {SLOTS**level * factor + near for level in range(6) for factor in (1, 2, 63) for near in (-1, 0, 1)}
)

deadlines = st.one_of(st.integers(0, 200), st.integers(0, 3 * SPAN_MS), st.sampled_from(BOUNDARIES))
steps = st.one_of(st.integers(1, 70), st.integers(1, SPAN_MS), st.sampled_from(BOUNDARIES[2:]))


def oracle(deadlines_ms: list[int], turns_ms: list[int]) -> list[list[int]]:
    waiting, met = dict(enumerate(deadlines_ms)), []
    for now_ms in turns_ms:
        due = sorted(index for index, deadline_ms in waiting.items() if deadline_ms <= now_ms)
        for index in due:
            del waiting[index]
        met.append(due)
    return met


def turns(jumps: list[int]) -> list[int]:
    return [sum(jumps[: count + 1]) for count in range(len(jumps))]


@settings(max_examples=400, deadline=None)
@given(st.lists(deadlines, max_size=30), st.lists(steps, min_size=1, max_size=12))
@example([64, 128, 4096, 4097, 262144], [63, 1, 64, 3968, 1, 1, 258047])
@example([3 * SPAN_MS], [SPAN_MS, SPAN_MS, SPAN_MS - 1, 1])
def test_wheel_turned_at_any_times_meets_what_a_search_finds(
    deadlines_ms: list[int], jumps: list[int]
) -> None:
    found = deadlines_met(deadlines_ms, turns(jumps))
    assert [sorted(due) for due, _ in found] == oracle(deadlines_ms, turns(jumps))


def test_wheel_serves_those_that_are_due_in_the_order_of_their_deadlines() -> None:
    assert deadlines_met([30, 10, 0, 20], [40]) == [([2, 1, 3, 0], None)]


@settings(max_examples=400, deadline=None)
@given(st.lists(deadlines, min_size=1, max_size=30), st.lists(steps, max_size=6))
def test_wheel_asks_for_its_next_turn_in_time(deadlines_ms: list[int], jumps: list[int]) -> None:
    """Never later than what is due next, and never for a time that has passed; None only when it is empty."""
    times = turns(jumps)
    for now_ms, (_, following) in zip(times, deadlines_met(deadlines_ms, times), strict=True):
        ahead = [deadline_ms for deadline_ms in deadlines_ms if deadline_ms > now_ms]
        if ahead:
            assert following is not None and now_ms < following <= min(ahead)
        else:
            assert following is None


@settings(max_examples=100, deadline=None)
@given(st.lists(deadlines, min_size=1, max_size=10))
def test_wheel_turned_only_when_it_asks_meets_each_deadline_at_its_time(deadlines_ms: list[int]) -> None:
    """As the engine turns it: a timer for what it asked, nothing in between. Few turns are needed."""
    times, now_ms = [], 0
    for _ in range(200):
        times.append(now_ms)
        following = deadlines_met(deadlines_ms, times)[-1][1]
        if following is None:
            break
        now_ms = following
    met = {
        index: now
        for now, (due, _) in zip(times, deadlines_met(deadlines_ms, times), strict=True)
        for index in due
    }
    assert met == dict(enumerate(deadlines_ms))


def test_wheel_turned_each_millisecond_meets_each_deadline_at_its_time() -> None:
    deadlines_ms = [1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 4159, 4160, 4161, 8191, 8192, 8193]
    found = deadlines_met(deadlines_ms, list(range(1, 9000)))
    met = {index: now_ms for now_ms, (due, _) in enumerate(found, 1) for index in due}
    assert met == dict(enumerate(deadlines_ms))
