"""An endpoint that comes back grows into its share."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from lb.core.events import ConfigLoaded, OperatorOrdered, SessionsFailed
from lb.model.check import Check
from lb.model.endpoint import Admin, Endpoint
from lb.model.pool import Policy
from lb.model.snapshot import EndpointLine, PoolLine
from tests.support.configurations import config, endpoint, key, pool
from tests.support.simulation import Simulation, killed, serves

A = key("web/a")
CHECK = Check(damping=None)
SLOW_S = 20.0
STARTED_S = 30.0


def world_of(members: str | tuple[Endpoint, ...] = "a b c", **rest: Any) -> Simulation:
    rest = {"slow_start_s": SLOW_S} | rest
    world = Simulation(config(pool("web", members, check=CHECK, **rest)), 1)
    world.run(until=STARTED_S)
    return world


def come_back(world: Simulation) -> None:
    """Runs until `a` was DOWN and is UP again."""
    world.behave(A, killed)
    world.run(until=world.now + 3.0)
    ups = len(world.changes(A, "health", "UP"))
    world.behave(A, serves)
    while len(world.changes(A, "health", "UP")) == ups:
        world.run(until=world.now + 0.01)


def lines_of(world: Simulation) -> dict[str, EndpointLine]:
    return {line.name: line for line in world.snapshot.endpoints if line is not None}


def pool_line(world: Simulation) -> PoolLine:
    [line] = [line for line in world.snapshot.pools if line is not None]
    return line


def share(world: Simulation) -> float:
    """Of `a`, of what `b` has; as the schedule and as the lines of the endpoints say."""
    numbers = {line.name: id for id, line in enumerate(world.snapshot.endpoints) if line is not None}
    weights = {name: line.weight for name, line in lines_of(world).items()}
    turns = Counter(pool_line(world).schedule)
    assert turns[numbers["a"]] * weights["b"] == turns[numbers["b"]] * weights["a"], world
    return weights["a"] / weights["b"]


def test_share_grows_by_tenths_of_the_time() -> None:
    world = world_of()
    assert share(world) == 1.0, "not at the start of lb"
    come_back(world)
    seen = []
    for _ in range(11):
        world.run(until=world.now + 0.02)
        seen.append(share(world))
        world.run(until=world.now + SLOW_S / 10 - 0.02)
    assert seen == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0])
    ramps = [each.record for each in world.records if each.record.facts.get("axis") == "ramp"]
    assert [(each.facts["to"], each.level) for each in ramps][:2] == [(1, "info"), (2, "debug")]
    assert len(ramps) == 10
    assert {line.weight for line in lines_of(world).values()} == {1}, "nothing is left of it"


@pytest.mark.parametrize("policy", list(Policy))
def test_half_way_the_share_is_half_under_every_policy(policy: Policy) -> None:
    world = world_of(policy=policy)
    come_back(world)
    world.run(until=world.now + SLOW_S / 2)
    hashed = pool_line(world).hash
    weights = {name: line.weight for name, line in lines_of(world).items()}
    if hashed is not None:
        weights = {name: weight for _, name, weight in hashed.members}
    assert 0.35 <= weights["a"] / weights["b"] <= 0.65


def test_sessions_max_grows_as_well() -> None:
    world = world_of((endpoint("a", sessions_max=40), endpoint("b")))
    come_back(world)
    assert lines_of(world)["a"].sessions_max == 4
    world.run(until=world.now + SLOW_S)
    assert lines_of(world)["a"].sessions_max == 40


def test_endpoint_that_goes_down_amid_its_ramp_begins_it_anew() -> None:
    world = world_of()
    come_back(world)
    world.run(until=world.now + SLOW_S / 2)
    come_back(world)
    assert share(world) == pytest.approx(0.1)


def test_end_of_maintenance_and_return_from_an_ejection_are_slow_starts() -> None:
    world = world_of()
    world.handle(OperatorOrdered(A, admin=Admin.MAINT))
    world.run(until=world.now + 1.0)
    world.handle(OperatorOrdered(A, admin=Admin.READY))
    world.run(until=world.now + 0.1)
    assert share(world) == pytest.approx(0.1)
    world.run(until=world.now + SLOW_S)
    assert share(world) == 1.0
    world.handle(SessionsFailed(0, {"refused": 5}, 5))
    world.run(until=world.now + 2.2)
    assert not world.view(A).ejected
    assert share(world) <= 0.2


def test_endpoint_that_was_added_is_a_slow_start_and_one_of_the_first_file_is_not() -> None:
    world = world_of("b c")
    world.handle(ConfigLoaded(config(pool("web", "a b c", check=CHECK, slow_start_s=SLOW_S))))
    world.run(until=world.now + 0.1)
    assert {name: line.weight for name, line in lines_of(world).items()} == {"a": 1, "b": 10, "c": 10}


def test_reload_that_takes_slow_start_away_ends_it() -> None:
    world = world_of()
    come_back(world)
    world.handle(ConfigLoaded(config(pool("web", "a b c", check=CHECK))))
    assert share(world) == 1.0


def test_pool_whose_endpoints_all_ramp_gives_each_its_part() -> None:
    world = world_of("a b")
    for name in "ab":
        world.behave(key(f"web/{name}"), killed)
    world.run(until=world.now + 3.0)
    assert world.eligible("web") == set()
    for name in "ab":
        world.behave(key(f"web/{name}"), serves)
    world.run(until=world.now + 5.0)
    assert world.eligible("web") == {"a", "b"}
    assert 0.5 <= share(world) <= 2.0
