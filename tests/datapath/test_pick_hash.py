"""source_hash and maglev: where a client goes, against the plain version, and who stays where."""

from __future__ import annotations

import ipaddress
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb._ext import trial
from lb.model.pool import HashOn, Policy
from lb.model.snapshot import Snapshot
from tests.support.oracles import mixed, siphash
from tests.support.pick_trial import FULL, KEY, PickTrial, picking, pool_of

PROBES = 256
HASHED = [Policy.SOURCE_HASH, Policy.MAGLEV]
CLIENTS = [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}" for number in range(3000)]

# ---- The hash ----

# The first and the last vector of SipHash's reference code (key 00 01 .. 0f, message 00 01 .. n-1), and its
# paper's.
VECTORS = {0: 0x726FDB47DD0E0E31, 15: 0xA129CA6149BE45E5, 63: 0x958A324CEB064572}


@pytest.mark.parametrize("size", VECTORS)
def test_hash_is_siphash_2_4(size: int) -> None:
    assert trial.sip_hash(KEY, bytes(range(size))) == VECTORS[size] == siphash(KEY, bytes(range(size)))


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=300))
def test_hash_is_the_oracles(key: bytes, data: bytes) -> None:
    assert trial.sip_hash(key, data) == siphash(key, data)


@given(st.integers(0, (1 << 64) - 1), st.integers(0, PROBES))
def test_probes_are_the_oracles(hash: int, number: int) -> None:
    assert trial.mixed_hash(hash, number) == mixed(hash, number)


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_hash_on_the_source_leaves_out_the_port(host: str) -> None:
    packed = ipaddress.ip_address(host).packed
    with picking(pool_of(Policy.MAGLEV, [1], size=101)) as made:
        found = {trial.hash_of(made.engine, host, port, "name") for port in (1, 65535)}
    assert found == {siphash(KEY, packed)}


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_hash_on_source_and_port_takes_both(host: str) -> None:
    packed = ipaddress.ip_address(host).packed
    with picking(pool_of(Policy.MAGLEV, [1], size=101, on=HashOn.SOURCE_IP_PORT)) as made:
        for port in (1, 443, 65535):
            assert trial.hash_of(made.engine, host, port) == siphash(KEY, packed + port.to_bytes(2, "big"))


def test_hash_on_the_name_does_not_mind_capitals_and_falls_back_to_the_source() -> None:
    with picking(pool_of(Policy.MAGLEV, [1], size=101, on=HashOn.SNI)) as made:
        spelt = {trial.hash_of(made.engine, "192.0.2.1", 1, name) for name in ("a-Z.example", "A-z.EXAMPLE")}
        assert spelt == {siphash(KEY, b"a-z.example")}
        longest = "x" * 255
        assert trial.hash_of(made.engine, "192.0.2.1", 1, longest) == siphash(KEY, longest.encode())
        assert trial.hash_of(made.engine, "192.0.2.1", 1) == siphash(KEY, bytes([192, 0, 2, 1]))


@pytest.mark.parametrize("on", HashOn)
def test_hash_of_a_unix_client_is_that_of_nothing(on: HashOn) -> None:
    with picking(pool_of(Policy.MAGLEV, [1], size=101, on=on)) as made:
        assert trial.hash_of(made.engine) == siphash(KEY, b"")


def test_hash_depends_on_the_key_of_the_pool() -> None:
    homes = []
    for key in (bytes(16), KEY):
        with picking(pool_of(Policy.MAGLEV, [1] * 10, key=key)) as made:
            homes.append([made.pick(host) for host in CLIENTS])
    assert 0.05 < sum(one == two for one, two in zip(*homes, strict=True)) / len(CLIENTS) < 0.15


# ---- The pick ----


class Oracle:
    """One client's way through a pool, in words."""

    def __init__(self, snapshot: Snapshot, slots: list[int], counts: list[int]) -> None:
        pool = snapshot.pools[0]
        assert pool is not None and pool.hash is not None
        self.lines, self.eligible, self.slots, self.counts = snapshot.endpoints, pool.eligible, slots, counts
        self.bound_percent = pool.hash.bound_percent

    def is_full(self, number: int) -> bool:
        line = self.lines[number]
        return line is not None and 0 < line.sessions_max <= self.counts[number]

    def is_laden(self, number: int) -> bool:
        """At its share: ceil(percent * (sessions + 1) * weight / weights)."""
        weights = {each: line.weight for each in self.eligible if (line := self.lines[each]) is not None}
        share = -(
            -self.bound_percent * (sum(self.counts) + 1) * weights[number] // (100 * sum(weights.values()))
        )
        return self.bound_percent > 0 and self.counts[number] >= share

    def pick(self, host: str, tried: list[int]) -> int | str | None:
        hash = siphash(KEY, ipaddress.ip_address(host).packed)
        probes = [self.slots[mixed(hash, probe) % len(self.slots)] for probe in range(PROBES)]
        start = hash % len(self.eligible) if self.eligible else 0
        ids = sorted(self.eligible)
        walk = ids[start:] + ids[:start]
        able = [
            number
            for number in probes + walk
            if number in self.eligible and number not in tried and not self.is_full(number)
        ]
        light = [number for number in able if not self.is_laden(number)]
        if light or able:
            return (light or able)[0]
        return FULL if any(number not in tried for number in self.eligible) else None


@st.composite
def situations(draw: st.DrawFn) -> tuple[Snapshot, list[int], list[int], str]:
    """A pool, sessions open, endpoints tried, a client."""
    weights = draw(st.lists(st.integers(1, 5), min_size=1, max_size=9))
    some = st.lists(st.integers(0, len(weights) - 1), unique=True)
    snapshot = pool_of(
        draw(st.sampled_from(HASHED)),
        weights,
        eligible=draw(some),
        sessions_max=draw(st.lists(st.integers(0, 4), min_size=len(weights), max_size=len(weights))),
        bound_percent=draw(st.sampled_from([0, 101, 125, 200])),
        size=101,
    )
    counts = draw(st.lists(st.integers(0, 5), min_size=len(weights), max_size=len(weights)))
    host = str(ipaddress.IPv4Address(draw(st.integers(0, (1 << 32) - 1))))
    return snapshot, counts, draw(some)[:8], host


def test_bound_that_all_have_reached_gives_way_to_the_first_probe() -> None:
    """It gave way to the walk over the ids: the client's own order was forgotten."""
    snapshot = pool_of(
        Policy.SOURCE_HASH,
        [1] * 8 + [4],
        eligible=[0, 1, 2, 3],
        sessions_max=[0] * 9,
        bound_percent=101,
        size=0,
    )
    with picking(snapshot) as made:
        made.is_open([1, 0, 0, 1])
        oracle = Oracle(snapshot, made.slots(), [1, 0, 0, 1, 0, 0, 0, 0, 0])
        for host in CLIENTS:
            assert made.pick(host, tried=[1, 2]) == oracle.pick(host, [1, 2]), host


@given(situations())
@settings(max_examples=400, deadline=None)
def test_pick_is_the_oracles(situation: tuple[Snapshot, list[int], list[int], str]) -> None:
    snapshot, counts, tried, host = situation
    with picking(snapshot) as made:
        made.is_open(counts)
        expected = Oracle(snapshot, made.slots(), counts).pick(host, tried)
        assert made.pick(host, tried=tried) == expected
        assert made.pick(host, tried=tried) == expected, "again"


@pytest.mark.parametrize("policy", HASHED)
def test_pick_of_a_pool_without_a_member_is_none(policy: Policy) -> None:
    for weights in ([], [0, 0]):
        with picking(pool_of(policy, weights)) as made:
            assert made.pick() is None


def homes(made: PickTrial) -> list[int | str | None]:
    return [made.pick(host) for host in CLIENTS]


@pytest.mark.parametrize("policy", HASHED)
def test_clients_are_spread_by_weight(policy: Policy) -> None:
    weights = [1, 2, 3, 4]
    with picking(pool_of(policy, weights)) as made:
        found = Counter(homes(made))
    for number, weight in enumerate(weights):
        assert abs(found[number] / len(CLIENTS) - weight / 10) < 0.03


@pytest.mark.parametrize("policy", HASHED)
def test_endpoint_that_goes_down_moves_its_own_clients_alone_and_gets_them_back(policy: Policy) -> None:
    """And they are spread over all of the others."""
    count = 10
    with picking(pool_of(policy, [1] * count)) as made:
        before = homes(made)
        made.publish(pool_of(policy, [1] * count, eligible=[0, 1, 2, 3, 5, 6, 7, 8, 9]))
        while_down = homes(made)
        made.publish(pool_of(policy, [1] * count))
        assert homes(made) == before
    went = Counter(new for old, new in zip(before, while_down, strict=True) if old == 4)
    assert all(new == old for old, new in zip(before, while_down, strict=True) if old != 4)
    assert set(went) == set(range(count)) - {4}
    assert max(went.values()) < 3 * sum(went.values()) / (count - 1)


def test_endpoint_that_leaves_moves_few_others_clients() -> None:
    weights = [1] * 10
    with picking(pool_of(Policy.MAGLEV, weights)) as made:
        before = homes(made)
        made.publish(pool_of(Policy.MAGLEV, [*weights[:4], 0, *weights[5:]]))
        after = homes(made)
    assert 4 not in after
    assert sum(old != new for old, new in zip(before, after, strict=True)) / len(CLIENTS) <= 0.1 + 0.02


@pytest.mark.parametrize("seed", range(3))
def test_clients_of_those_that_are_eligible_never_move(seed: int) -> None:
    """Whatever goes up and down: a client is where its first probe that is eligible says."""
    lots, count = random.Random(seed), 12
    with picking(pool_of(Policy.MAGLEV, [1] * count)) as made:
        first = homes(made)
        for _ in range(10):
            eligible = lots.sample(range(count), lots.randint(1, count))
            made.publish(pool_of(Policy.MAGLEV, [1] * count, eligible=eligible))
            for home, now in zip(first, homes(made), strict=True):
                assert now in eligible, f"seed {seed}"
                assert now == home or home not in eligible, f"seed {seed}"


def test_workers_agree_on_every_client() -> None:
    with picking(pool_of(Policy.MAGLEV, [1] * 10, eligible=[0, 2, 4, 6, 8]), workers=2) as made:
        assert [made.pick(host, worker=1) for host in CLIENTS] == homes(made)


# ---- Bounded load ----


@pytest.mark.parametrize(("weights", "percent"), [([1] * 10, 125), ([1, 2, 3], 150), ([5, 1, 1], 101)])
def test_bound_holds_while_sessions_arrive(weights: list[int], percent: int) -> None:
    """All from few clients, whom a hash alone would crowd; over two workers' columns."""
    counts = [[0] * len(weights), [0] * len(weights)]
    lots = random.Random(3)
    with picking(pool_of(Policy.MAGLEV, weights, bound_percent=percent), workers=2) as made:
        for step in range(600):
            worker = lots.randrange(2)
            picked = made.pick(CLIENTS[lots.randrange(4)], worker=worker)
            assert isinstance(picked, int)
            counts[worker][picked] += 1
            made.is_open(counts[worker], worker=worker)
            total = counts[0][picked] + counts[1][picked]
            share = -(-percent * (step + 1) * weights[picked] // (100 * sum(weights)))
            assert total <= share, f"step {step}"


def test_bound_that_nobody_keeps_gives_way() -> None:
    """It cannot be while counts are true; another worker's may be a moment old."""
    with picking(pool_of(Policy.MAGLEV, [1] * 3, bound_percent=101)) as made:
        for number in range(3):
            trial.set_open(made.engine, 0, number, 90, pool=1)  # the pool's own count stays 0
        slots = made.slots()
        for host in CLIENTS[:50]:
            hash = siphash(KEY, ipaddress.ip_address(host).packed)
            assert made.pick(host) == slots[mixed(hash, 0) % len(slots)]
