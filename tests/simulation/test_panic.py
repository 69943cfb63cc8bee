"""Too few endpoints that are well: who serves, and what is said of it."""

from __future__ import annotations

import pytest

from lb.core.events import OperatorOrdered, SessionsFailed
from lb.model.check import Check
from lb.model.endpoint import Admin
from lb.model.pool import OnAllDown
from tests.support.configurations import config, key, pool
from tests.support.simulation import Simulation, killed, serves

STARTED_S = 30.0
DOWN_S = 3.0
UP_S = 5.0


def world_of(names: str = "a b c d", **rest: object) -> Simulation:
    world = Simulation(config(pool("web", names, check=Check(damping=None), **rest)), 1)
    world.run(until=STARTED_S)
    return world


def fail(world: Simulation, names: str) -> set[str]:
    for name in names.split():
        world.behave(key(f"web/{name}"), killed)
    world.run(until=world.now + DOWN_S)
    return world.eligible("web")


def mend(world: Simulation, names: str) -> set[str]:
    for name in names.split():
        world.behave(key(f"web/{name}"), serves)
    world.run(until=world.now + UP_S)
    return world.eligible("web")


def told(world: Simulation, *events: str) -> list[str]:
    return [seen.record.event for seen in world.records if seen.record.event in events]


ALL = {"a", "b", "c", "d"}


def test_all_down_rejects_and_says_so_once() -> None:
    world = world_of()
    assert fail(world, "a b c d") == set()
    world.run(until=world.now + 60.0)
    assert mend(world, "a") == {"a"}
    assert told(world, "pool_emptied", "pool_restored", "panic_began") == ["pool_emptied", "pool_restored"]


def test_all_down_gives_sessions_to_any_that_is_ready_and_says_so_once() -> None:
    world = world_of(on_all_down=OnAllDown.ANY)
    world.handle(OperatorOrdered(key("web/d"), admin=Admin.DRAIN))
    assert fail(world, "a b") == {"c"}
    assert fail(world, "c") == {"a", "b", "c"}
    world.run(until=world.now + 60.0)
    assert mend(world, "a") == {"a"}
    assert told(world, "pool_emptied", "panic_began", "panic_ended") == ["panic_began", "panic_ended"]


@pytest.mark.parametrize(("percent", "left"), [(50, {"c", "d"}), (51, ALL), (100, ALL)])
def test_pool_panics_while_less_than_its_share_is_well(percent: int, left: set[str]) -> None:
    world = world_of(panic_percent=percent)
    assert fail(world, "a b") == left
    assert mend(world, "a b") == ALL
    expected = ["panic_began", "panic_ended"] if left == ALL else []
    assert told(world, "panic_began", "panic_ended") == expected


def test_who_is_set_aside_serves_in_a_panic() -> None:
    world = world_of(panic_percent=60)
    world.handle(SessionsFailed(3, {"refused": 5}, 5))
    assert world.eligible("web") == {"a", "b", "c"}
    assert fail(world, "a b") == ALL
