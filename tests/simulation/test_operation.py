"""Days of operation in seconds: what holds over thousands of failures, orders and reloads."""

from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from lb.core.events import ConfigLoaded, OperatorOrdered
from lb.model.cause import Reason
from lb.model.check import Check
from lb.model.config import Config
from lb.model.endpoint import Admin, EndpointKey
from tests.support.configurations import config, endpoint, key, listener, pool
from tests.support.simulation import Simulation, eligible_lines, hung, killed, serves

DAY_S = 86400.0
MINUTELY = Check(interval_s=60.0, interval_changing_s=30.0, interval_down_s=60.0)


@pytest.mark.parametrize("seed", range(3))
def test_day_of_outages_is_seen_whole_and_nothing_else_is(seed: int) -> None:
    world = Simulation(config(pool("web", "a b c", check=MINUTELY)), seed)
    keys = [key("web/a"), key("web/b"), key("web/c")]
    outages: Counter[EndpointKey] = Counter()

    def fail(failing: EndpointKey) -> None:
        outages[failing] += 1
        world.behave(failing, world.random.choice([killed, hung]))
        world.at(world.now + world.random.uniform(300.0, 900.0), lambda: recover(failing))

    def recover(failing: EndpointKey) -> None:
        world.behave(failing, serves)
        world.at(world.now + world.random.uniform(300.0, 3600.0), lambda: fail(failing))

    for each in keys:
        world.at(world.random.uniform(0.0, 3600.0), lambda each=each: fail(each))  # type: ignore[misc]
    world.run(until=DAY_S)
    for each in keys:
        seen = len(world.changes(each, "health", "DOWN"))
        assert outages[each] - 1 <= seen <= outages[each], (each, world)
        assert outages[each] > 10, world


def test_day_of_nothing_publishes_once_and_probes_at_the_interval() -> None:
    world = Simulation(config(pool("web", "a b c", check=MINUTELY)), seed=11)
    world.run(until=DAY_S)
    assert len(world.snapshots) == 1
    for starts in world.probe_starts.values():
        gaps = [after - before for before, after in pairwise(starts)]
        assert min(gaps) >= 48.0 - 1e-6
        assert max(gaps) <= 60.0 + 1e-6
        assert starts[0] <= 60.0


def test_many_endpoints_are_never_probed_in_step() -> None:
    names = " ".join(f"e{number}" for number in range(500))
    world = Simulation(config(pool("web", names, check=Check())), seed=12)
    world.run(until=60.0)
    starts = [at_s for each in world.probe_starts.values() for at_s in each if at_s > 1.0]
    per_tenth = Counter(int(at_s * 10) for at_s in starts)
    expected = 500 / 0.9 / 10  # the mean interval is 0.9 s
    assert max(per_tenth.values()) < 1.8 * expected, world
    assert min(per_tenth.values()) > 0.4 * expected, world


@pytest.mark.parametrize("seed", range(10))
def test_reloads_by_the_hundred_never_send_sessions_to_an_endpoint_that_is_down(seed: int) -> None:
    world = Simulation(config(pool("web", "a b c", check=Check())), seed)
    world.behave(key("web/b"), killed)
    for number in range(300):
        loaded = shuffled(world, number)
        world.at(10.0 + number * 0.37, lambda loaded=loaded: world.handle(ConfigLoaded(loaded)))  # type: ignore[misc]
    world.run(until=130.0)
    assert len(world.snapshots) > 100, world
    for at_s, snapshot in world.snapshots:
        assert at_s < 10.0 or "b" not in {line.name for line in eligible_lines(snapshot, "web")}, world
    assert world.view(key("web/b")).id == 1, world


def shuffled(world: Simulation, number: int) -> Config:
    """Everything but check and address varies; d comes and goes."""
    endpoints = [endpoint(name, weight=world.random.randint(1, 9)) for name in "abc"]
    if number % 3 == 0:
        endpoints.append(endpoint("d"))
    world.random.shuffle(endpoints)
    return config(pool("web", tuple(endpoints), check=Check(), drain_s=world.random.uniform(0.0, 3.0)))


@pytest.mark.parametrize("seed", range(10))
def test_endpoints_that_come_and_go_for_hours_leave_nothing_behind(seed: int) -> None:
    """Ids stay dense, however many endpoints there were."""
    world = Simulation(config(pool("web", "a")), seed)
    for number in range(2000):
        names = " ".join(world.random.sample("abcdefghij", world.random.randint(1, 6)))
        loaded = config(pool("web", names, drain_s=5.0), listeners=(listener("x", pool="web"),))
        world.at(1.0 + number * 2.0, lambda loaded=loaded: world.handle(ConfigLoaded(loaded)))  # type: ignore[misc]
    world.run(until=4100.0)
    assert max(each.id for each in world.brain.endpoints()) < 20, world
    assert not any(each.removed for each in world.brain.endpoints()), world


def test_drain_with_a_session_that_never_ends_is_over_at_its_bound() -> None:
    world = Simulation(config(pool("web", "a b", drain_s=60.0)), seed=1)
    world.at(1.0, lambda: world.sessions.update({0: 1}))
    world.at(10.0, lambda: world.handle(OperatorOrdered(key("web/a"), Admin.DRAIN)))
    world.run(until=100.0)
    [(closed_s, command)] = world.closed
    assert (closed_s, command.reason, command.endpoint_id) == (70.0, Reason.DRAINED, 0)
    drained = [seen.at_s for seen in world.records if seen.record.event == "endpoint_drained"]
    assert len(drained) == 1
    assert 70.0 <= drained[0] <= 70.6


def test_check_that_is_edited_again_and_again_never_leaves_the_pool_dark() -> None:
    world = Simulation(config(pool("web", "a b c", check=Check())), seed=3)
    for number in range(200):
        edited = replace(Check(), timeout_s=0.5 + number / 1000)
        loaded = config(pool("web", "a b c", check=edited))
        world.at(5.0 + number * 0.2, lambda loaded=loaded: world.handle(ConfigLoaded(loaded)))  # type: ignore[misc]
    world.run(until=60.0)
    assert all(line.eligible for _, snapshot in world.snapshots for line in snapshot.pools if line), world
    assert world.eligible("web") == {"a", "b", "c"}
