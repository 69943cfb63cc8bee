"""Ratios inside each round, and their intervals, against every possible draw."""

import itertools
import random
import statistics

import pytest

from bench.compare.ratios import between, interval, median, per_round


def rounds(*values: float | None) -> list[dict]:
    return [{"round": number, "cpu": value} for number, value in enumerate(values, 1) if value is not None]


def test_ratio_is_taken_inside_each_round() -> None:
    """The machine was twice as slow in round 2: the ratio does not see it."""
    ratio = between(rounds(10.0, 20.0, 10.0), rounds(20.0, 40.0, 20.0), "cpu")
    assert ratio is not None
    assert (ratio.median, ratio.low, ratio.high) == (0.5, 0.5, 0.5)


def test_ratio_of_rounds_that_only_one_has_is_left_out() -> None:
    assert per_round(rounds(1.0, 2.0, 3.0), rounds(None, 4.0), "cpu") == [0.5]
    assert between(rounds(1.0), rounds(None, 4.0), "cpu") is None


def test_ratio_to_nothing_is_left_out() -> None:
    assert per_round(rounds(1.0, 2.0), rounds(0.0, 4.0), "cpu") == [0.5]


def test_interval_of_few_rounds_is_the_median() -> None:
    assert interval([1.0, 3.0]) == (2.0, 2.0)


def test_interval_is_close_to_that_of_every_possible_draw() -> None:
    """The oracle: all 5^5 samples with replacement, of which the bootstrap draws some."""
    values = [0.91, 0.94, 0.95, 1.02, 0.93]
    medians = sorted(statistics.median(draw) for draw in itertools.product(values, repeat=5))
    cut = round(len(medians) * 0.025)
    assert interval(values) == (medians[cut], medians[-cut - 1])


@pytest.mark.parametrize("seed", range(5))
def test_interval_holds_the_median_and_lies_within_the_values(seed: int) -> None:
    values = [random.Random(seed).gauss(1, 0.1) for _ in range(9)]
    low, high = interval(values)
    assert min(values) <= low <= statistics.median(values) <= high <= max(values)


def test_median_passes_over_samples_without_the_figure() -> None:
    assert median([{"cpu": 1.0}, {}, {"cpu": 3.0}], "cpu") == 2.0
    assert median([{}], "cpu") is None
