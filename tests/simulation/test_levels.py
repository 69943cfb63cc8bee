"""Priority levels and zones: who serves, and how much, as endpoints fail and come back."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from lb.balance.levels import loads
from lb.core.events import OperatorOrdered, SessionsFailed
from lb.model.check import Check
from lb.model.endpoint import Admin, Endpoint
from lb.model.pool import Policy
from tests.support.configurations import config, endpoint, key, pool
from tests.support.simulation import Simulation, killed, serves

CHECK = Check(damping=None)
STARTED_S = 30.0
DOWN_S, UP_S = 3.0, 5.0
DRAWN = 20_000
CRITICAL = 15.14  # of chi-square with two degrees of freedom: once in 1900


def world_of(members: tuple[Endpoint, ...], **rest: Any) -> Simulation:
    world = Simulation(config(pool("web", members, check=CHECK, **rest)), 1)
    world.run(until=STARTED_S)
    return world


def level(prefix: str, count: int, **rest: Any) -> tuple[Endpoint, ...]:
    return tuple(endpoint(f"{prefix}{number}", **rest) for number in range(count))


def fail(world: Simulation, *names: str) -> None:
    for name in names:
        world.behave(key(f"web/{name}"), killed)
    world.run(until=world.now + DOWN_S)


def mend(world: Simulation, *names: str) -> None:
    for name in names:
        world.behave(key(f"web/{name}"), serves)
    world.run(until=world.now + UP_S)


def split(world: Simulation) -> Counter[str]:
    """Of sessions drawn from the schedule, by the first letter of the endpoint's name."""
    [line] = [line for line in world.snapshot.pools if line is not None]
    names = [each.name[0] if each else "" for each in world.snapshot.endpoints]
    random = Random(7)
    return Counter(names[random.choice(line.schedule)] for _ in range(DRAWN)) if line.schedule else Counter()


def expected(healthy: list[float], overprovision: float = 1.4) -> list[float]:
    """Envoy's text, word for word: health, normalized total, and what is left for each."""
    healths = [min(1.0, overprovision * part) for part in healthy]
    total = min(1.0, sum(healths))
    found, left = [], 1.0
    for health in healths:
        load = min(left, health / total) if total else 0.0
        found.append(load)
        left -= load
    return found


@pytest.mark.parametrize("standing", [0, 3, 10])
@pytest.mark.parametrize("left", range(11))
def test_split_of_two_levels_is_that_of_the_arithmetic(left: int, standing: int) -> None:
    world = world_of(level("a", 10) + level("b", 10, priority=1), policy=Policy.RANDOM)
    fail(world, *(f"a{number}" for number in range(10 - left)))
    fail(world, *(f"b{number}" for number in range(10 - standing)))
    drawn, wanted = split(world), expected([left / 10, standing / 10])
    if not left and not standing:
        assert not drawn
        return
    pairs = [(drawn[name], DRAWN * part) for name, part in zip("ab", wanted, strict=True)]
    chi = sum((seen - hoped) ** 2 / hoped for seen, hoped in pairs if hoped)
    assert chi < CRITICAL, (drawn, wanted)
    assert all(seen == 0 for seen, hoped in pairs if not hoped)
    assert [float(load) for load in loads([(left, 10), (standing, 10)], 140)] == pytest.approx(wanted)


def test_split_by_weight_and_over_three_levels() -> None:
    members = (
        endpoint("a0", weight=3),
        endpoint("a1", weight=1),
        *level("b", 2, priority=1),
        *level("c", 1, priority=5),
    )
    world = world_of(members)
    assert set(split(world)) == {"a"}
    fail(world, "a0")  # a quarter of the weight: 35 %
    drawn = split(world)
    assert (drawn["a"] / DRAWN, drawn["b"] / DRAWN) == pytest.approx((0.35, 0.65), abs=0.02)
    fail(world, "a1", "b0")
    drawn = split(world)
    assert (drawn["b"] / DRAWN, drawn["c"] / DRAWN) == pytest.approx((0.7, 0.3), abs=0.02)
    fail(world, "b1", "c0")
    assert world.eligible("web") == set()


def test_standby_serves_while_the_active_one_does_not() -> None:
    world = world_of((endpoint("a"), endpoint("b", priority=1)))
    assert world.eligible("web") == {"a"}
    fail(world, "a")
    assert world.eligible("web") == {"b"}
    mend(world, "a")
    assert world.eligible("web") == {"a"}
    facts = [seen.record.facts for seen in world.records]
    assert "its level stands by" in {each["evidence"] for each in facts if each.get("axis") == "eligible"}
    world.handle(OperatorOrdered(key("web/a"), admin=Admin.DRAIN))
    assert world.eligible("web") == {"b"}


def test_fail_back_is_as_slow_as_the_slow_start() -> None:
    world = world_of((endpoint("a"), endpoint("b", priority=1)), slow_start_s=20.0, overprovision_percent=100)
    fail(world, "a")
    world.behave(key("web/a"), serves)
    while "a" not in world.eligible("web"):
        world.run(until=world.now + 0.01)
    parts = []
    for _ in range(11):
        world.run(until=world.now + 0.02)
        drawn = split(world)
        parts.append(drawn["a"] / DRAWN)
        world.run(until=world.now + 1.98)
    assert parts == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0], abs=0.02)


def test_zone_of_ours_comes_first_and_spills_over() -> None:
    members = level("a", 4, zone="eu-1") + level("b", 4, zone="eu-2") + level("c", 1, priority=1, zone="eu-1")
    world = world_of(members, prefer_zone="eu-1")
    assert set(split(world)) == {"a"}
    fail(world, "a0", "a1")
    drawn = split(world)
    assert (drawn["a"] / DRAWN, drawn["b"] / DRAWN) == pytest.approx((0.7, 0.3), abs=0.02)
    fail(world, "a2", "a3", "b0", "b1", "b2", "b3")
    assert set(split(world)) == {"c"}
    assert set(split(world_of(members))) == {"a", "b"}


def test_one_that_fails_sessions_is_set_aside_for_a_standby() -> None:
    world = world_of((endpoint("a"), endpoint("b", priority=1)))
    world.handle(SessionsFailed(0, {"refused": 5}, 5))
    assert world.eligible("web") == {"b"}


def test_panic_ignores_levels() -> None:
    world = world_of(level("a", 2) + level("b", 2, priority=1), panic_percent=60)
    fail(world, "a0", "a1")
    assert world.eligible("web") == {"a0", "a1", "b0", "b1"}
    drawn = split(world)
    assert drawn["a"] / DRAWN == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("policy", [Policy.MAGLEV, Policy.SOURCE_HASH])
def test_standby_is_in_the_table_and_has_no_session_while_it_stands_by(policy: Policy) -> None:
    world = world_of((endpoint("a"), endpoint("b", priority=1)), policy=policy)
    assert world.eligible("web") == {"a"}
    fail(world, "a")
    assert world.eligible("web") == {"b"}
