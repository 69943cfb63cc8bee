"""rise and fall: a verdict at the result that completes a run, and at no other."""

from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.health.streak import extended, is_changing, verdict
from lb.model.check import Check
from lb.model.endpoint import Health

UNKNOWN, UP, DOWN = Health.UNKNOWN, Health.UP, Health.DOWN
CHECK = Check(rise=2, fall=3)


@pytest.mark.parametrize(
    ("start", "results", "expected"),
    [
        (UP, "ffp", "UP UP UP"),
        (UP, "fff", "UP UP DOWN"),
        (UP, "ffpfff", "UP UP UP UP UP DOWN"),
        (UP, "ffpffp", "UP UP UP UP UP UP"),
        (UP, "ppppfff", "UP UP UP UP UP UP DOWN"),
        (DOWN, "pp", "DOWN UP"),
        (DOWN, "pfp", "DOWN DOWN DOWN"),
        (DOWN, "ffffpp", "DOWN DOWN DOWN DOWN DOWN UP"),
        (UP, "fffpp", "UP UP DOWN DOWN UP"),
        (UNKNOWN, "p", "UP"),
        (UNKNOWN, "f", "DOWN"),
        (UNKNOWN, "fpp", "DOWN DOWN UP"),
        (UNKNOWN, "pff", "UP UP UP"),
    ],
)
def test_verdict_after_results_is_the_expected_health(start: Health, results: str, expected: str) -> None:
    assert [health.name for health in run(start, results)] == expected.split()


@given(st.sampled_from([UP, DOWN]), st.text("pf", max_size=60), st.integers(1, 5), st.integers(1, 5))
def test_verdict_over_any_results_equals_counting_runs_backwards(
    start: Health, results: str, rise: int, fall: int
) -> None:
    check = Check(rise=rise, fall=fall)
    health = start
    for length, actual in enumerate(run(start, results, check), 1):
        last, count = [(key, len(list(group))) for key, group in groupby(results[:length])][-1]
        if last == "p" and count >= rise:
            health = UP
        if last == "f" and count >= fall:
            health = DOWN
        assert actual is health


@given(st.text("pf", min_size=1, max_size=60))
def test_streak_after_any_results_is_the_length_of_the_last_run(results: str) -> None:
    streak = 0
    for result in results:
        streak = extended(streak, result == "p")
    last = results[-1]
    length = len(results) - len(results.rstrip(last))
    assert streak == (length if last == "p" else -length)


@pytest.mark.parametrize(
    ("health", "streak", "expected"),
    [(UP, -1, True), (UP, 1, False), (UP, 0, False), (DOWN, 1, True), (DOWN, -9, False), (UNKNOWN, 0, False)],
)
def test_is_changing_when_the_streak_speaks_against_the_health(
    health: Health, streak: int, expected: bool
) -> None:
    assert is_changing(health, streak) is expected


def run(health: Health, results: str, check: Check = CHECK) -> list[Health]:
    streak, seen = 0, []
    for result in results:
        streak = extended(streak, result == "p")
        health = verdict(health, streak, check)
        seen.append(health)
    return seen
