"""The table of weighted round robin, against two slow and obvious versions of it."""

from collections import Counter
from fractions import Fraction
from itertools import pairwise
from math import gcd
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb.balance.schedule import SCHEDULE_MAX, Share, reduced, schedule, turns
from lb.model.endpoint import WEIGHT_MAX

weight_lists = st.lists(st.integers(1, 40), min_size=2, max_size=9)


def test_schedule_of_equal_weights_is_the_order_given() -> None:
    assert schedule([Share(7, 3), Share(2, 3), Share(5, 3)]) == (7, 2, 5)


def test_schedule_of_five_one_one_spreads_the_heavy_one() -> None:
    assert schedule([Share(0, 5), Share(1, 1), Share(2, 1)]) == (0, 0, 1, 0, 0, 2, 0)


@pytest.mark.parametrize("shares", [[], [Share(4, 9)]])
def test_schedule_of_less_than_two_endpoints_is_as_long(shares: list[Share]) -> None:
    assert schedule(shares) == tuple(share.endpoint_id for share in shares)


@given(weight_lists)
def test_schedule_gives_each_endpoint_its_weight_in_lowest_terms(weights: list[int]) -> None:
    counts = Counter(schedule([Share(index, weight) for index, weight in enumerate(weights)]))
    divisor = gcd(*weights)
    assert counts == {index: weight // divisor for index, weight in enumerate(weights)}


@settings(deadline=None)
@given(weight_lists)
def test_turns_equal_the_rule_read_aloud(weights: list[int]) -> None:
    assert turns(weights) == chairmen(weights)


@settings(deadline=None)
@given(weight_lists)
def test_turns_keep_everyone_within_the_bound_after_any_number(weights: list[int]) -> None:
    bound = 1 - Fraction(1, 2 * len(weights) - 2)
    counts = [0] * len(weights)
    for turn, index in enumerate(turns(weights), 1):
        counts[index] += 1
        for count, weight in zip(counts, weights, strict=True):
            assert abs(count - Fraction(turn * weight, sum(weights))) <= bound


def test_turns_are_as_smooth_as_those_of_nginx() -> None:
    random = Random(20)
    for _ in range(200):
        weights = [random.randint(1, 40) for _ in range(random.randint(2, 9))]
        ours, theirs = unevenness(weights, turns(weights)), unevenness(weights, nginx(weights))
        assert ours <= max(theirs, Fraction(2)), weights


def test_turns_put_light_endpoints_far_apart() -> None:
    order = turns([100, 1, 1, 1, 1])
    light = [place for place, index in enumerate(order) if index > 0]
    assert min(after - before for before, after in pairwise(light)) > 10


@given(st.lists(st.integers(1, WEIGHT_MAX), min_size=1, max_size=2000))
def test_reduced_weights_fit_the_table_and_starve_nobody(weights: list[int]) -> None:
    shrunk = reduced(weights)
    assert len(shrunk) == len(weights)
    assert min(shrunk) >= 1
    assert sum(shrunk) <= SCHEDULE_MAX
    assert gcd(*shrunk) == 1


def test_reduced_weights_that_are_scaled_stay_in_proportion() -> None:
    weights = [WEIGHT_MAX, WEIGHT_MAX - 1, 64, 1] * 200
    shrunk = reduced(weights)
    assert sum(weights) > SCHEDULE_MAX
    assert 3.7 <= shrunk[0] / shrunk[2] <= 4.3


# ---- Oracles ----------------------------------------------------------------------------------------


def chairmen(weights: list[int]) -> list[int]:
    """Tijdeman's rule in fractions, looking at every endpoint at every turn."""
    total, margin = sum(weights), Fraction(1, 2 * len(weights) - 2)
    counts = [0] * len(weights)
    order = []
    for turn in range(1, total + 1):
        possible = [
            index
            for index, weight in enumerate(weights)
            if Fraction(weight * turn, total) >= counts[index] + margin and counts[index] < weight
        ]
        first = min(possible, key=lambda index: ((counts[index] + 1 - margin) / weights[index], index))
        counts[first] += 1
        order.append(first)
    return order


def nginx(weights: list[int]) -> list[int]:
    """Every endpoint gains its weight; the richest goes and pays the total."""
    wealth = [0] * len(weights)
    order = []
    for _ in range(sum(weights)):
        wealth = [have + weight for have, weight in zip(wealth, weights, strict=True)]
        richest = max(range(len(weights)), key=lambda index: wealth[index])
        wealth[richest] -= sum(weights)
        order.append(richest)
    return order


def unevenness(weights: list[int], order: list[int]) -> Fraction:
    """By how many turns the worst stretch of the order, wherever it begins, differs from a share."""
    worst = Fraction(0)
    for index, weight in enumerate(weights):
        ahead = [Fraction(0)]
        for turn in order:
            ahead.append(ahead[-1] + (turn == index) - Fraction(weight, len(order)))
        worst = max(worst, max(ahead) - min(ahead))
    return worst
