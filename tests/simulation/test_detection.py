"""How soon a failing endpoint is DOWN: the promises of the default check, over many seeds."""

import pytest

from lb.core.events import SessionsFailed
from lb.model.check import Check
from tests.support.configurations import config, key, pool
from tests.support.simulation import Behaviour, Simulation, flaky, hung, killed, serves, unseen

A = key("web/a")
SEEDS = range(400)
FAILS_S = 30.0  # long after the start; the phase of the probes is random by then


def detection_s(behaviour: Behaviour, seed: int) -> float:
    """From the failure of one endpoint of three to the snapshot without it."""
    world = Simulation(config(pool("web", "a b c", check=Check())), seed)
    fails_s = FAILS_S + world.random.random()
    world.at(fails_s, lambda: world.behave(A, behaviour))
    world.run(until=fails_s + 10.0)
    assert world.eligible("web") == {"b", "c"}, world
    [down_s] = world.changes(A, "health", "DOWN")
    [out_s] = [at_s for at_s, snapshot in world.snapshots[1:]]
    assert out_s == down_s, world
    return down_s - fails_s


@pytest.mark.parametrize(("behaviour", "worst_s"), [(killed, 2.0), (hung, 3.4)])
def test_failing_endpoint_with_the_default_check_is_out_in_time(behaviour: Behaviour, worst_s: float) -> None:
    taken = {seed: detection_s(behaviour, seed) for seed in SEEDS}
    slowest = max(taken, key=lambda seed: taken[seed])
    assert taken[slowest] <= worst_s + 0.002, f"seed {slowest}"  # a refusal takes up to 1 ms
    assert taken[slowest] > 0.85 * worst_s, "the bound is far off: the test has lost its teeth"


@pytest.mark.parametrize("seed", range(50))
def test_killed_endpoint_whose_sessions_fail_is_down_within_three_gaps(seed: int) -> None:
    """A probe may just have passed, so three failures take three times 100 ms and what the answers take."""
    world = Simulation(config(pool("web", "a b", check=Check())), seed)
    world.at(FAILS_S, lambda: world.behave(A, killed))
    for step in range(310):
        world.at(FAILS_S + step / 1000, lambda: world.handle(SessionsFailed(0, {"refused": 10})))
    world.run(until=FAILS_S + 0.31)
    assert world.changes(A, "health", "DOWN"), world
    assert len([at_s for at_s in world.probe_starts[A] if at_s >= FAILS_S]) <= 4, world


@pytest.mark.parametrize("seed", range(50))
def test_failing_sessions_of_an_endpoint_that_answers_probes_never_make_it_down(seed: int) -> None:
    world = Simulation(config(pool("web", "a b", check=Check())), seed)
    for step in range(2000):
        world.at(step / 100, lambda: world.handle(SessionsFailed(0, {"timeout": 3})))
    world.run(until=20.0)
    assert not world.changes(A, "health", "DOWN"), world
    assert len(world.snapshots) == 1, world


@pytest.mark.parametrize("seed", range(20))
def test_recovered_endpoint_is_in_again_within_the_down_interval_and_a_streak(seed: int) -> None:
    world = Simulation(config(pool("web", "a b", check=Check())), seed)
    world.behave(A, killed)
    world.at(20.0, lambda: world.behave(A, serves))
    world.run(until=30.0)
    [up_s] = [at_s for at_s in world.changes(A, "health", "UP") if at_s > 0]
    assert up_s - 20.0 <= 2.0 + 0.5 + 0.01, world


@pytest.mark.parametrize("seed", range(20))
def test_stuck_loop_of_our_own_makes_nobody_down(seed: int) -> None:
    world = Simulation(config(pool("web", "a b c", check=Check())), seed)
    for name in ("web/a", "web/b", "web/c"):
        world.behave(key(name), unseen)
    world.run(until=60.0)
    assert world.eligible("web") == {"a", "b", "c"}, world
    assert len(world.snapshots) == 1, world


def test_endpoint_that_fails_every_other_probe_never_flaps() -> None:
    world = Simulation(config(pool("web", "a b", check=Check())), seed=1)
    turn = iter(range(10**9))
    world.behave(A, lambda random, check: (killed if next(turn) % 2 else serves)(random, check))
    world.run(until=3600.0)
    assert not world.changes(A, "health", "DOWN"), world


def test_endpoint_that_fails_half_of_its_probes_changes_only_by_whole_streaks() -> None:
    world = Simulation(config(pool("web", "a b", check=Check(damping=None))), seed=5)
    world.behave(A, flaky(50))
    world.run(until=3600.0)
    downs = world.changes(A, "health", "DOWN")
    starts = world.probe_starts[A]
    assert 100 < len(downs) < 600, world
    assert len(world.changes(A, "eligible", False)) == len(downs), world
    assert 3600 / 2 < len(starts) < 3600 * 2.5, world
