"""When probes run: start to start, shortened by jitter, quicker while something changes."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.health.plan import first_run, interval, next_run
from lb.model.check import Check
from lb.model.endpoint import Health

UP, DOWN, UNKNOWN = Health.UP, Health.DOWN, Health.UNKNOWN
STEADY = Check(jitter_percent=0)


@pytest.mark.parametrize(
    ("health", "streak", "expected_s"),
    [(UP, 5, 1.0), (UP, -1, 0.5), (UP, -2, 0.5), (DOWN, -3, 2.0), (DOWN, 1, 0.5), (UNKNOWN, 0, 1.0)],
)
def test_interval_in_each_state_is_the_one_configured(health: Health, streak: int, expected_s: float) -> None:
    assert interval(STEADY, health, streak) == expected_s


def test_next_run_after_a_quick_probe_counts_from_its_start() -> None:
    assert next_run(STEADY, UP, 1, started_s=10.0, now=10.3, seeded=Random(1)) == 11.0


def test_next_run_after_a_probe_longer_than_the_interval_is_at_once() -> None:
    assert next_run(STEADY, UP, -1, started_s=10.0, now=10.8, seeded=Random(1)) == 10.8


@given(st.integers(), st.integers(0, 100))
def test_next_run_with_jitter_is_never_later_than_the_interval(seed: int, jitter_percent: int) -> None:
    check = Check(jitter_percent=jitter_percent)
    at = next_run(check, UP, 1, started_s=0.0, now=0.0, seeded=Random(seed))
    assert 1.0 - jitter_percent / 100 <= at <= 1.0


def test_next_run_with_jitter_fills_its_range() -> None:
    random = Random(3)
    runs = [next_run(Check(), UP, 1, started_s=0.0, now=0.0, seeded=random) for _ in range(1000)]
    assert min(runs) < 0.81
    assert max(runs) > 0.99


def test_first_run_of_many_endpoints_is_even_over_the_interval() -> None:
    random = Random(4)
    runs = [first_run(Check(interval_s=2.0), 100.0, random) for _ in range(4000)]
    quarters = [sum(100.0 + q / 2 <= run < 100.5 + q / 2 for run in runs) for q in range(4)]
    assert sum(quarters) == 4000
    assert max(quarters) < 1.15 * min(quarters)
