"""Ten thousand endpoints: what an event costs does not depend on how many endpoints there are.

CPU time of this process, the best of some rounds: a busy machine makes a round slower, never faster.
"""

from time import process_time

from lb.core.brain import Brain
from lb.core.events import ConfigLoaded
from lb.model.check import Check
from lb.model.config import Config
from lb.model.endpoint import Health
from tests.support.configurations import config, endpoint, pool
from tests.support.simulation import Simulation, killed

ROUNDS = 5


def loaded(endpoints: int, weight: int = 1) -> Config:
    members = (
        endpoint(f"e{number}", host=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", weight=weight)
        for number in range(endpoints)
    )
    return config(pool("web", tuple(members), check=Check()))


def cost_of_load_s(before: Config | None, after: Config) -> float:
    brain = Brain(1)
    if before is not None:
        brain.handle(ConfigLoaded(before), 0.0)
    began_s = process_time()
    brain.handle(ConfigLoaded(after), 1.0)
    return process_time() - began_s


def test_load_of_a_thousand_endpoints_takes_less_than_50_ms() -> None:
    configuration = loaded(1000)
    assert min(cost_of_load_s(None, configuration) for _ in range(ROUNDS)) < 0.05


def test_reload_of_a_thousand_endpoints_with_one_change_takes_less_than_50_ms() -> None:
    before, after = loaded(1000), loaded(1001)
    assert min(cost_of_load_s(before, after) for _ in range(ROUNDS)) < 0.05


def cost_of_an_event_s(endpoints: int) -> float:
    """Of a probe that starts or ends, where all is well."""
    world = Simulation(loaded(endpoints), seed=1)
    world.run(until=0.0)
    duration_s = 5000 / endpoints  # about as many events, however many endpoints
    began_s = process_time()
    world.run(until=duration_s)
    return (process_time() - began_s) / sum(len(starts) for starts in world.probe_starts.values())


def test_event_among_ten_thousand_endpoints_costs_about_what_it_costs_among_fifty() -> None:
    few = min(cost_of_an_event_s(50) for _ in range(ROUNDS))
    many = min(cost_of_an_event_s(10_000) for _ in range(ROUNDS))
    assert many < 5 * few


def test_thousand_endpoints_that_fail_together_cost_a_few_snapshots() -> None:
    world = Simulation(loaded(1000), seed=1)
    world.run(until=5.0)
    for each in world.brain.endpoints():
        world.behave(each.key, killed)
    began_s = process_time()
    world.run(until=7.1)
    assert {each.health for each in world.brain.endpoints()} == {Health.DOWN}
    assert len(world.snapshots) < 60
    assert process_time() - began_s < 2.0
