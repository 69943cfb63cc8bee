"""round_robin, random, power_of_two and least_connections, without sockets, against plain versions.

Every count is of fixed seeds: what passed once passes always.
"""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb.model.pool import Policy
from lb.model.snapshot import Snapshot
from tests.support.oracles import chi_square, shares, shares_of_two
from tests.support.pick_trial import FULL, picking, pool_of

DRAWING = [Policy.RANDOM, Policy.POWER_OF_TWO, Policy.PEAK_EWMA]
SCHEDULED = [Policy.ROUND_ROBIN, *DRAWING]
PICKS = 20_000
TURNS_MAX = 8  # as ext/pick.pyx: then it walks
# Chi-square exceeds this once in ten thousand, at so many degrees of freedom.
RARE = {1: 15.1, 2: 18.4, 3: 21.1, 4: 23.5, 9: 33.7, 29: 66.2}


@st.composite
def situations(draw: st.DrawFn) -> tuple[list[int], list[int], list[int], list[list[int]], list[int]]:
    """Weights, who is eligible, bounds, sessions by worker, endpoints tried."""
    weights = draw(st.lists(st.integers(1, 5), min_size=1, max_size=9))
    count = len(weights)
    some = st.lists(st.integers(0, count - 1), unique=True)
    few = st.lists(st.integers(0, 4), min_size=count, max_size=count)
    return weights, draw(some), draw(few), draw(st.lists(few, min_size=1, max_size=3)), draw(some)[:8]


def pool(policy: Policy, weights: list[int], eligible: list[int], bounds: list[int]) -> Snapshot:
    return pool_of(policy, weights, eligible=eligible, sessions_max=bounds)


def fitting(
    eligible: list[int], bounds: list[int], open_by_worker: list[list[int]], tried: list[int]
) -> set[int]:
    counts = [sum(column) for column in zip(*open_by_worker, strict=True)]
    return {n for n in eligible if n not in tried and (bounds[n] == 0 or counts[n] < bounds[n])}


def outcome(eligible: list[int], tried: list[int]) -> str | None:
    """Of a pick where nothing fits."""
    return FULL if set(eligible) - set(tried) else None


# ---- What holds for every one of them ----


@pytest.mark.parametrize("policy", [*SCHEDULED, Policy.LEAST_CONNECTIONS])
@given(situation=situations(), seed=st.integers(0, 1 << 31))
@settings(max_examples=150, deadline=None)
def test_pick_is_one_that_fits_and_there_is_none_only_if_none_fits(
    policy: Policy,
    situation: tuple[list[int], list[int], list[int], list[list[int]], list[int]],
    seed: int,
) -> None:
    weights, eligible, bounds, open_by_worker, tried = situation
    fits = fitting(eligible, bounds, open_by_worker, tried)
    with picking(pool(policy, weights, eligible, bounds), workers=len(open_by_worker), seed=seed) as made:
        for worker, counts in enumerate(open_by_worker):
            made.is_open(counts, worker)
        for _ in range(4):
            picked = made.pick(tried=tried)
            assert picked in fits if fits else picked == outcome(eligible, tried)


@pytest.mark.parametrize("policy", [*SCHEDULED, Policy.LEAST_CONNECTIONS])
def test_pick_finds_the_last_with_room_among_thousands(policy: Policy) -> None:
    """Far behind what draws and steps would come past."""
    count, last = 9000, 4321
    bounds = [1] * count
    bounds[last] = 2
    with picking(pool_of(policy, [1] * count, sessions_max=bounds)) as made:
        made.is_open([1] * count)
        assert made.pick() == last
        assert made.pick(tried=[last]) == FULL


# ---- Round robin ----


@given(situation=situations())
@settings(max_examples=150, deadline=None)
def test_round_robin_gives_up_the_turns_of_those_that_do_not_fit(
    situation: tuple[list[int], list[int], list[int], list[list[int]], list[int]],
) -> None:
    weights, eligible, bounds, open_by_worker, _ = situation
    snapshot = pool(Policy.ROUND_ROBIN, weights, eligible, bounds)
    line = snapshot.pools[0]
    assert line is not None
    fits = fitting(eligible, bounds, open_by_worker, [])
    with picking(snapshot, workers=len(open_by_worker)) as made:
        for worker, counts in enumerate(open_by_worker):
            made.is_open(counts, worker)
        turn = 0
        for pick in range(2 * len(line.schedule)):
            for _ in range(min(TURNS_MAX, len(line.schedule))):
                at = turn % len(line.schedule)
                turn += 1
                if line.schedule[at] in fits:
                    break
            walk = [number for number in line.schedule[at:] + line.schedule[:at] if number in fits]
            assert made.pick(worker=pick % len(open_by_worker)) == (walk or [outcome(eligible, [])])[0]


# ---- By lot ----


def counted(snapshot: Snapshot, opened: list[int], tried: tuple[int, ...] = ()) -> dict[int, int]:
    with picking(snapshot, seed=7) as made:
        made.is_open(opened)
        found = Counter(made.pick(tried=tried) for _ in range(PICKS))
    assert all(isinstance(number, int) for number in found), found
    return {number: count for number, count in found.items() if isinstance(number, int)}


@pytest.mark.parametrize("weights", [[1] * 3, [1] * 30, [1, 2], [1, 2, 3, 4], [50, 1, 1]])
def test_random_draws_by_weight(weights: list[int]) -> None:
    found = counted(pool_of(Policy.RANDOM, weights), [0] * len(weights))
    assert chi_square(found, shares(dict(enumerate(weights)))) < RARE[len(weights) - 1]


def test_random_draws_by_weight_among_those_with_room() -> None:
    weights = [3, 1, 2, 4]
    snapshot = pool_of(Policy.RANDOM, weights, sessions_max=[1, 0, 0, 0])
    found = counted(snapshot, [1, 0, 0, 0], tried=(3,))
    assert chi_square(found, {1: Fraction(1, 3), 2: Fraction(2, 3)}) < RARE[1]


@pytest.mark.parametrize(
    ("weights", "opened"),
    [
        ([1, 1], [5, 4]),
        ([1, 1, 1], [7, 0, 3]),
        ([1] * 10, [10, 3, 12, 4, 7, 0, 30, 2, 1, 9]),
        ([1, 2, 3, 4], [4, 2, 5, 20]),
        ([8, 1], [70, 10]),
    ],
)
def test_power_of_two_is_the_lighter_of_two_that_are_drawn_by_weight(
    weights: list[int], opened: list[int]
) -> None:
    """So the heaviest of all is never picked, and the lightest as often as it is drawn."""
    burden = {number: opened[number] / weight for number, weight in enumerate(weights)}
    expected = shares_of_two(dict(enumerate(weights)), burden)
    found = counted(pool_of(Policy.POWER_OF_TWO, weights), opened)
    heaviest = max(burden, key=burden.__getitem__)
    assert expected[heaviest] == 0 and heaviest not in found
    assert chi_square(found, expected) < RARE.get(len(weights) - 2, RARE[1])


def test_power_of_two_of_equals_draws_by_weight() -> None:
    weights = [1, 2, 3, 4]
    found = counted(pool_of(Policy.POWER_OF_TWO, weights), weights)
    assert chi_square(found, shares(dict(enumerate(weights)))) < RARE[3]


def test_power_of_two_sees_every_worker() -> None:
    with picking(pool_of(Policy.POWER_OF_TWO, [1, 1]), workers=3) as made:
        made.is_open([1, 0], worker=0)
        made.is_open([0, 9], worker=2)
        assert {made.pick(worker=worker) for worker in (0, 1, 2) for _ in range(20)} == {0}


def test_power_of_two_keeps_loads_even_where_lots_alone_do_not() -> None:
    """Azar et al.: the excess over the mean is about log log n / log 2, however many sessions there are."""
    most = {}
    for policy in (Policy.RANDOM, Policy.POWER_OF_TWO):
        counts = [0] * 100
        with picking(pool_of(policy, [1] * 100)) as made:
            for _ in range(10_000):
                picked = made.pick()
                assert isinstance(picked, int)
                counts[picked] += 1
                made.is_open(counts) if policy is Policy.POWER_OF_TWO else None
        most[policy] = max(counts)
    assert most[Policy.POWER_OF_TWO] <= 104 < 115 <= most[Policy.RANDOM]


# ---- Least connections ----


@given(situation=situations(), seed=st.integers(0, 1 << 31))
@settings(max_examples=300, deadline=None)
def test_least_connections_is_a_least_one_that_fits(
    situation: tuple[list[int], list[int], list[int], list[list[int]], list[int]], seed: int
) -> None:
    weights, eligible, bounds, open_by_worker, tried = situation
    fits = fitting(eligible, bounds, open_by_worker, tried)
    burden = {n: Fraction(sum(column[n] for column in open_by_worker), weights[n]) for n in fits}
    least = {n for n in fits if burden[n] == min(burden.values())}
    snapshot = pool(Policy.LEAST_CONNECTIONS, weights, eligible, bounds)
    with picking(snapshot, workers=len(open_by_worker), seed=seed) as made:
        for worker, counts in enumerate(open_by_worker):
            made.is_open(counts, worker)
        picked = made.pick(tried=tried)
    assert picked in least if least else picked == outcome(eligible, tried)


@pytest.mark.parametrize(
    ("weights", "opened", "bounds"),
    [
        ([1] * 5, [3, 1, 1, 1, 2], [0] * 5),
        ([2, 1, 4, 4, 1], [3, 1, 4, 4, 2], [0] * 5),
        ([1] * 5, [0, 1, 1, 1, 2], [0] * 5),
        ([2, 1, 4, 4, 1], [0, 1, 4, 4, 2], [0] * 5),
    ],
)
def test_least_connections_draws_among_ties_evenly(
    weights: list[int], opened: list[int], bounds: list[int]
) -> None:
    """Also when the least one of all was tried, and others must take its place."""
    tried = (0,) if opened[0] == 0 else ()
    snapshot = pool_of(Policy.LEAST_CONNECTIONS, weights, sessions_max=bounds)
    found = counted(snapshot, opened, tried)
    assert chi_square(found, dict.fromkeys((1, 2, 3), Fraction(1, 3))) < RARE[2]


@pytest.mark.parametrize("gap", [0, 1, 63, 64, 65, 200, 299])
@pytest.mark.parametrize("weight", [1, 3])
def test_least_connections_of_many_finds_the_one_wherever_a_gap_is(gap: int, weight: int) -> None:
    """Columns are added by stretches of ids without a gap, and one by one elsewhere."""
    count, workers = 300, 3
    eligible = [number for number in range(count) if number != gap]
    with picking(
        pool_of(Policy.LEAST_CONNECTIONS, [weight] * count, eligible=eligible), workers=workers
    ) as made:
        for least in (0, 1, 2, 62, 63, 64, 65, 66, 127, 128, 199, 201, 298, 299):
            for worker in range(workers):
                counts = [10 + worker] * count
                counts[gap] = 0
                if least != gap and worker == least % workers:
                    counts[least] -= 1
                made.is_open(counts, worker)
            picked = made.pick()
            assert picked == least if least != gap else picked in eligible
