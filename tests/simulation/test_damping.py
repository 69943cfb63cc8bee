"""An endpoint that comes and goes, with and without damping, in simulated time."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from lb.core.events import OperatorOrdered
from lb.health.damping import hold_down_s
from lb.model.check import Check, Damping
from lb.model.endpoint import Admin, Health
from tests.support.configurations import config, key, pool
from tests.support.simulation import Answer, Behaviour, Simulation, killed, serves

A = key("web/a")
TOUCHY = Check(rise=1, fall=1)
TEN_MINUTES_S = 600.0


def alternating() -> Behaviour:
    """The worst: every probe finds the opposite of the one before."""
    count = 0

    def answer(random: Random, check: Check) -> Answer:
        nonlocal count
        count += 1
        return Answer(count % 2 == 0, 0.001)

    return answer


def transitions(check: Check, seed: int = 1) -> int:
    world = Simulation(config(pool("web", "a b", check=check)), seed)
    world.behave(A, alternating())
    world.run(until=TEN_MINUTES_S)
    return len(world.changes(A, "health", "DOWN")) + len(world.changes(A, "health", "UP"))


def test_endpoint_that_alternates_changes_little_with_damping() -> None:
    damped, free = transitions(TOUCHY), transitions(replace(TOUCHY, damping=None))
    print(f"transitions in 10 simulated minutes: {damped} with damping, {free} without")
    assert free > 300
    assert 10 <= damped <= 20


def test_hold_doubles_and_is_bounded_and_the_window_forgets() -> None:
    damping = Damping(window_s=600.0, hold_down_max_s=300.0)
    assert hold_down_s(damping, [], 1000.0) == 0.0
    held = [hold_down_s(damping, [1000.0 - n for n in range(count)], 1000.0) for count in range(1, 11)]
    assert held == [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]
    assert hold_down_s(damping, [400.0, 401.0], 1000.0) == 2.0
    assert hold_down_s(Damping(hold_down_max_s=0.0), [999.0], 1000.0) == 0.0
    assert hold_down_s(Damping(), [1000.0] * 32, 1000.0) == 300.0


@pytest.mark.parametrize("seed", range(20))
def test_endpoint_that_is_well_again_is_back_when_its_hold_ends(seed: int) -> None:
    world = Simulation(config(pool("web", "a b", check=Check())), seed)
    for down_s in (30.0, 40.0, 50.0):
        world.at(down_s, lambda: world.behave(A, killed))
        world.at(down_s + 3.0, lambda: world.behave(A, serves))
    world.run(until=70.0)
    downs, ups = world.changes(A, "health", "DOWN"), world.changes(A, "health", "UP")[1:]
    away = [up_s - down_s for down_s, up_s in zip(downs, ups, strict=True)]
    assert away[0] < 4.6, world
    assert 2.0 <= away[1] < 4.6, world
    assert 4.0 <= away[2] <= 4.6, world  # then at the next probe
    [said] = [
        seen.record.facts["evidence"]
        for seen in world.records
        if seen.at_s == downs[2] and seen.record.facts.get("axis") == "health"
    ]
    assert said.endswith("; held DOWN for 4 s, it flaps")


def test_end_of_maintenance_ends_the_hold() -> None:
    world = Simulation(config(pool("web", "a b", check=TOUCHY)), 1)
    world.behave(A, alternating())
    world.run(until=300.0)
    world.behave(A, serves)
    assert world.view(A).health is Health.DOWN
    assert world.view(A).checks[0].held_until_s > world.now
    world.handle(OperatorOrdered(A, admin=Admin.MAINT))
    world.handle(OperatorOrdered(A, admin=Admin.READY))
    world.run(until=world.now + 1.0)
    assert world.view(A).health is Health.UP
