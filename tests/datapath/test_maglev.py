"""Maglev's table: what it depends on, what it does not, and how little of it moves.

The paper (Eisenbud et al., NSDI 2016, section 3.4) wants a size above 100 * N for shares of N equal endpoints
that differ by at most 1 %. Turns give more: they differ by one slot, which of 65537 is 1.5 % at N = 1000, and
less than 1 % of the mean to either side.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb._ext import trial
from lb.core.draft import Draft
from lb.core.state import EndpointState, PoolState
from lb.model.address import Address
from lb.model.endpoint import Endpoint, EndpointKey
from lb.model.pool import Policy, Pool
from lb.model.snapshot import Snapshot
from lb.shell.datapath import compile_snapshot
from tests.support.oracles import maglev
from tests.support.pick_trial import picking, pool_of
from tests.support.source import ROOT

SIZE = 65537


def named_slots(snapshot: Snapshot) -> list[str]:
    with picking(snapshot) as made:
        return [line.name for number in made.slots() if (line := snapshot.endpoints[number]) is not None]


def table(weights: dict[str, int], size: int = SIZE) -> list[str]:
    return named_slots(pool_of(Policy.MAGLEV, list(weights.values()), names=list(weights), size=size))


def even(count: int) -> dict[str, int]:
    return {f"10.0.{number // 256}.{number % 256}:80": 1 for number in range(count)}


def moved(before: list[str], after: list[str]) -> float:
    return sum(old != new for old, new in zip(before, after, strict=True)) / len(before)


# ---- What it is ----


@given(weights=st.lists(st.integers(1, 256), min_size=1, max_size=12), size=st.sampled_from([101, 211, 1009]))
@settings(max_examples=60, deadline=None)
def test_table_is_the_oracles(weights: list[int], size: int) -> None:
    named = {f"e{number}": weight for number, weight in enumerate(weights)}
    assert table(named, size) == maglev(named, size)


@given(
    st.dictionaries(st.text("abcd.:0", min_size=1, max_size=8), st.integers(1, 9), min_size=1), st.randoms()
)
@settings(max_examples=60, deadline=None)
def test_table_does_not_depend_on_the_order_of_the_file(weights: dict[str, int], lots: random.Random) -> None:
    order = list(weights)
    lots.shuffle(order)
    assert table(weights, 1009) == table({name: weights[name] for name in order}, 1009)


def test_table_depends_on_the_proportion_of_the_weights_alone() -> None:
    assert table({"a": 2, "b": 4, "c": 6}, 1009) == table({"a": 1, "b": 2, "c": 3}, 1009)


def test_table_is_the_same_in_another_process() -> None:
    """And for ever: a table that changed would move everybody's clients at an upgrade."""
    script = (
        "from tests.datapath.test_maglev import digest, even, table\n"
        "print(digest(table(even(10))), digest(table({'a': 1, 'b': 2})))"
    )
    other = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    here = [digest(table(even(10))), digest(table({"b": 2, "a": 1}))]
    assert other.stdout.split() == here
    assert here == ["506b04f6784f9c3d", "d608ddf196084a83"]  # the oracle's too; it needs a minute


def digest(slots: list[str]) -> str:
    return sha256("\n".join(slots).encode()).hexdigest()[:16]


# ---- Shares ----


@pytest.mark.parametrize("count", [1, 2, 3, 10, 100, 655, 1000])
def test_shares_of_equal_endpoints_differ_by_one_slot(count: int) -> None:
    slots = Counter(table(even(count)))
    assert len(slots) == count
    assert max(slots.values()) - min(slots.values()) <= 1
    mean = SIZE / count
    assert all(abs(share - mean) <= mean / 100 for share in slots.values())


def test_shares_of_weights_1_and_2_are_envoys() -> None:
    """Its documentation's example: 21846 and 43691 of 65537."""
    assert Counter(table({"one": 1, "two": 2})) == {"one": 21846, "two": 43691}


@pytest.mark.parametrize("seed", range(5))
def test_shares_are_in_proportion_to_the_weights(seed: int) -> None:
    """Off by half a slot, and by what the others' halves leave: count / (2 * size) of the share."""
    lots = random.Random(seed)
    count = lots.choice([2, 10, 100, 1000])
    weights = {name: lots.randint(1, 256) for name in even(count)}
    slots, total = Counter(table(weights)), sum(weights.values())
    for name, weight in weights.items():
        fair = SIZE * weight / total
        assert abs(slots[name] - fair) <= 1 + fair * count / (2 * SIZE), f"seed {seed}: {name} of {count}"


def test_share_of_the_lightest_is_never_nothing() -> None:
    slots = Counter(table({"heavy": 256, "heavier": 256, "light": 1}, size=101))
    assert slots["light"] == 1


def test_table_of_fewer_slots_than_endpoints_gives_each_one_or_none() -> None:
    slots = Counter(table(even(150), size=101))
    assert set(slots.values()) == {1} and len(slots) == 101


# ---- What moves ----


@pytest.mark.parametrize("count", [2, 3, 10, 100, 1000])
def test_endpoint_that_leaves_moves_little_but_its_own(count: int) -> None:
    weights = even(count)
    before = table(weights)
    for gone in random.Random(count).sample(sorted(weights), min(5, count)):
        after = table({name: weight for name, weight in weights.items() if name != gone})
        assert moved(before, after) <= 1 / count + 0.02
        assert gone not in after


def test_endpoint_that_joins_moves_little_but_what_it_gets() -> None:
    weights = even(10)
    before, after = table(weights), table(weights | {"10.9.9.9:80": 1})
    assert 1 / 11 - 0.001 <= moved(before, after) <= 1 / 11 + 0.02


def test_weight_that_changes_moves_little_but_the_difference() -> None:
    weights = dict.fromkeys(even(10), 10)
    name = min(weights)
    before, after = table(weights), table(weights | {name: 5})
    assert moved(before, after) <= 0.5 / 9.5 + 0.02


def test_endpoint_that_is_not_eligible_keeps_its_slots() -> None:
    snapshot = pool_of(Policy.MAGLEV, [1] * 10)
    assert named_slots(snapshot) == named_slots(pool_of(Policy.MAGLEV, [1] * 10, eligible=[0, 3, 9]))


# ---- From the configuration ----


def lines_of(weights: dict[str, int], ids: list[int], policy: Policy) -> Snapshot:
    """What the brain makes of a pool whose endpoints came to be under these ids."""
    endpoints = tuple(Endpoint(name, Address("10.0.0.1", 80), weight) for name, weight in weights.items())
    owner = PoolState(0, Pool("pool", endpoints, policy))
    draft = Draft()
    for number, endpoint in zip(ids, endpoints, strict=True):
        key = EndpointKey("pool", endpoint.name)
        state = EndpointState(number, key, owner, endpoint, endpoint.weight)
        owner.endpoints[endpoint.name] = state
        draft.put_endpoint(state)
    draft.put_pool(owner, list(owner.endpoints.values()))
    sealed = draft.seal(1)
    assert sealed is not None
    return sealed


@pytest.mark.parametrize("policy", [Policy.MAGLEV, Policy.SOURCE_HASH])
def test_slots_do_not_depend_on_ids(policy: Policy) -> None:
    """Two instances gave them out in another order: their clients still agree."""
    weights = {"a": 2, "b": 1, "c": 6, "d": 1}
    order = ["c", "a", "d", "b"]
    one = lines_of(weights, [0, 1, 2, 3], policy)
    two = lines_of({name: weights[name] for name in order}, [9, 4, 7, 0], policy)
    assert named_slots(one) == named_slots(two)


def test_slots_of_source_hash_are_its_reduced_weights_by_name() -> None:
    snapshot = lines_of({"b": 2, "a": 4, "c": 0}, [0, 1, 2], Policy.SOURCE_HASH)
    assert named_slots(snapshot) == ["a", "a", "b"]


def test_slots_of_source_hash_are_bounded() -> None:
    snapshot = lines_of({f"e{n}": 256 - n % 3 for n in range(200)}, list(range(200)), Policy.SOURCE_HASH)
    slots = named_slots(snapshot)
    assert len(slots) <= 16384 and set(slots) == {f"e{n}" for n in range(200)}


def test_table_is_made_again_only_when_names_weights_or_size_change() -> None:
    """A snapshot that changes health alone takes over the tables of the one before."""

    def made_for(snapshot: Snapshot) -> int:
        before = trial.maglev_tables_made()
        os.close(compile_snapshot(snapshot))
        return trial.maglev_tables_made() - before

    full = pool_of(Policy.MAGLEV, [1, 1, 1], size=1013)
    assert made_for(full) == 1
    assert made_for(full) == 0
    assert made_for(pool_of(Policy.MAGLEV, [1, 1, 1], size=1013, eligible=[1])) == 0
    assert made_for(pool_of(Policy.MAGLEV, [1, 1, 2], size=1013)) == 1
    assert made_for(pool_of(Policy.MAGLEV, [1, 1, 2], size=1019)) == 1
    assert made_for(pool_of(Policy.MAGLEV, [1, 1, 2], size=1019, names=["a", "b", "c"])) == 1
    assert made_for(full) == 1, "only those of the last snapshot are kept"


@pytest.mark.parametrize("size", [0x10000, 1, 4, (1 << 24) + 43])
def test_table_of_a_size_that_cannot_be_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="prime"):
        compile_snapshot(pool_of(Policy.MAGLEV, [1, 1], size=size))


def test_table_with_a_weight_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="e1: weight 65537"):
        compile_snapshot(pool_of(Policy.MAGLEV, [1, 65537]))
