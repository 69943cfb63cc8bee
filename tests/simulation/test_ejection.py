"""Endpoints that fail sessions in a row: set aside, returned, bounded."""

from __future__ import annotations

from random import Random

import pytest

from lb.core.events import ConfigLoaded, SessionsFailed
from lb.health.ejection import ejected_max, ejection_s
from lb.model.check import AgentQuery, AgentWords, Check, Checks
from lb.model.endpoint import Health
from lb.model.pool import OutlierRule
from tests.support.configurations import config, key, pool
from tests.support.simulation import Answer, Simulation, killed, serves

A = key("web/a")
STARTED_S = 30.0


def world_of(names: str = "a b c", check: Check | None = None, **rule: float) -> Simulation:
    world = Simulation(config(pool("web", names, check=check, outlier=OutlierRule(**rule))), 1)  # type: ignore[arg-type]
    world.run(until=STARTED_S)
    return world


def fail(world: Simulation, endpoint_id: int, in_row: int = 5) -> None:
    """A row of failures, after a session that did not fail."""
    world.handle(SessionsFailed(endpoint_id, {"refused": 1}, 1))
    world.handle(SessionsFailed(endpoint_id, {"refused": in_row - 1}, in_row))


def go_on_failing(world: Simulation, endpoint_id: int, in_row: int) -> None:
    """So many by now, without one that did not fail."""
    world.handle(SessionsFailed(endpoint_id, {"refused": 1}, in_row))


def after(world: Simulation, seconds: float) -> set[str]:
    world.run(until=world.now + seconds)
    return world.eligible("web")


def test_five_failures_in_a_row_set_an_endpoint_aside_and_four_do_not() -> None:
    world = world_of()
    fail(world, 0, 4)
    assert world.eligible("web") == {"a", "b", "c"}
    fail(world, 0, 5)
    assert world.eligible("web") == {"b", "c"}
    assert world.view(A).health is Health.UP
    [change] = [each.record.facts for each in world.records if each.record.facts.get("axis") == "ejected"]
    assert (change["to"], change["cause"]) == (True, "OUTLIER")
    assert change["evidence"] == "5 sessions failed in a row: refused 4; set aside for 30 s"


def test_time_aside_grows_is_bounded_and_begins_anew() -> None:
    world = world_of(ejection_s=30.0, ejection_max_s=70.0)
    for seconds in (30.0, 60.0, 70.0, 70.0):
        fail(world, 0)
        assert after(world, seconds - 0.01) == {"b", "c"}
        assert after(world, 0.02) == {"a", "b", "c"}
    after(world, 71.0)
    fail(world, 0)
    assert after(world, 30.01) == {"a", "b", "c"}
    assert [ejection_s(OutlierRule(), times) for times in (1, 2, 10, 11)] == [30.0, 60.0, 300.0, 300.0]


def test_check_that_passes_ends_the_first_time_and_not_the_next() -> None:
    """The second time it has shown that it does not see what sessions see."""
    world = world_of(check=Check())
    fail(world, 0)
    assert after(world, 2.1) == {"a", "b", "c"}
    fail(world, 0)
    assert after(world, 59.0) == {"b", "c"}
    assert after(world, 1.1) == {"a", "b", "c"}


def test_endpoint_that_its_check_finds_down_is_no_longer_set_aside() -> None:
    """Defect: one that was killed and came back twice in five minutes was away for a minute more."""
    world = world_of(check=Check(damping=None))
    for _ in range(3):
        world.behave(A, killed)
        fail(world, 0)
        assert after(world, 3.0) == {"b", "c"}
        assert not world.view(A).ejected
        assert world.view(A).health is Health.DOWN
        world.behave(A, serves)
        assert after(world, 3.0) == {"a", "b", "c"}


@pytest.mark.parametrize(
    ("names", "percent", "min_eligible", "left"),
    [
        ("a b c", 10, 1, 2),
        ("a b c", 0, 1, 3),
        ("a b c d e f g h i j k", 10, 1, 9),
        ("a b c d", 100, 1, 1),
        ("a b c d", 100, 3, 3),
        ("a", 100, 1, 1),
    ],
)
def test_no_more_are_set_aside_than_the_bounds_allow(
    names: str, percent: int, min_eligible: int, left: int
) -> None:
    world = world_of(names, eject_max_percent=percent, min_eligible=min_eligible)
    for number in range(len(names.split())):
        fail(world, number)
        fail(world, number)
    assert len(world.eligible("web")) == left
    withheld = [each for each in world.records if each.record.event == "ejection_withheld"]
    assert len(withheld) == 1
    assert ejected_max(OutlierRule(eject_max_percent=10), 11) == 2


def test_last_one_that_serves_is_not_missed_while_the_others_are_down() -> None:
    """They went DOWN after one was set aside: it is better than nobody."""
    world = world_of("a b", check=Check())
    fail(world, 0)
    assert world.eligible("web") == {"b"}
    world.behave(key("web/b"), killed)
    world.behave(A, lambda random, check: killed(random, check))
    world.run(until=world.now + 0.6)
    assert after(world, 3.0) == set()
    world = world_of("a b", check=Check(interval_s=100.0, jitter_percent=0))
    fail(world, 0)
    world.handle(ConfigLoaded(config(pool("web", "a", check=Check(interval_s=100.0, jitter_percent=0)))))
    assert world.eligible("web") == {"a"}


def test_rule_that_is_off_ejects_nobody_and_returns_who_was() -> None:
    world = world_of()
    fail(world, 0)
    world.handle(ConfigLoaded(config(pool("web", "a b c", outlier=None))))
    assert world.eligible("web") == {"a", "b", "c"}
    fail(world, 0)
    assert world.eligible("web") == {"a", "b", "c"}


def test_endpoint_that_leaves_while_it_is_set_aside_is_forgotten_whole() -> None:
    """Defect: the agenda still had its return, for an id that was free or another's."""
    world = world_of()
    fail(world, 0)
    world.handle(ConfigLoaded(config(pool("web", "b c"))))
    world.run(until=world.now + 10.0)
    world.handle(ConfigLoaded(config(pool("web", "b c d"))))
    fail(world, 0)
    assert after(world, 21.0) == {"b", "c"}
    assert after(world, 10.0) == {"b", "c", "d"}


def test_row_of_before_is_not_held_against_an_endpoint_that_is_back() -> None:
    """Defect: one failure was enough, for the count goes on until a session does not fail."""
    world = world_of(ejection_s=1.0)
    go_on_failing(world, 0, 100)
    after(world, 1.1)
    go_on_failing(world, 0, 101)
    assert after(world, 0.1) == {"a", "b", "c"}
    go_on_failing(world, 0, 105)
    assert after(world, 0.1) == {"b", "c"}
    after(world, 10.0)
    go_on_failing(world, 0, 4)
    assert after(world, 0.1) == {"a", "b", "c"}
    go_on_failing(world, 0, 5)
    assert after(world, 0.1) == {"b", "c"}


def test_nobody_is_set_aside_in_a_panic() -> None:
    """Defect: endpoints that were DOWN counted as those that are left."""
    world = Simulation(config(pool("web", "a b c", check=Check(), panic_percent=50)), 1)
    world.run(until=STARTED_S)
    for name in "ab":
        world.behave(key(f"web/{name}"), killed)
    world.run(until=world.now + 3.0)
    assert world.eligible("web") == {"a", "b", "c"}
    assert world.brain.panicking == {"web"}
    fail(world, 2)
    assert not world.view(key("web/c")).ejected


@pytest.mark.parametrize("words", [None, AgentWords(up=True)])
def test_agent_neither_hinders_nor_proves_an_early_return(words: AgentWords | None) -> None:
    def answer(random: Random, check: Check) -> Answer:
        if check.asks_agent:
            return Answer(words is not None, 0.001, agent=words)
        return Answer(True, 0.001)

    checks = Checks((Check(), Check(AgentQuery(), port=9, interval_s=0.1, interval_changing_s=0.1)))
    world = Simulation(config(pool("web", "a b c", check=checks)), 1)
    world.behave(A, answer)
    world.run(until=STARTED_S)
    fail(world, 0)
    assert after(world, 0.7) == {"b", "c"}
    assert after(world, 1.5) == {"a", "b", "c"}
