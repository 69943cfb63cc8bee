"""An endpoint with several checks, and one whose agent says how it is."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from lb.core.events import ConfigLoaded, OperatorOrdered
from lb.model.check import AgentQuery, AgentWords, Check, Checks, HttpRequest
from lb.model.endpoint import Admin, Agent, Health
from tests.support.configurations import config, endpoint, key, pool
from tests.support.simulation import Answer, Behaviour, Simulation

A = key("web/a")
TCP, HTTP, AGENT = Check(), Check(HttpRequest()), Check(AgentQuery(), port=9)
UP, DOWN = Health.UP, Health.DOWN
SETTLED_S = 30.0
DOWN_WITHIN_S, UP_WITHIN_S = 2.01, 2.6
SEEDS = range(20)


def failing(*types: str) -> Behaviour:
    return lambda random, check: Answer(check.type not in types, 0.001)


def saying(words: AgentWords | None) -> Behaviour:
    """The agent says this (None: it is not there); every other check passes."""

    def answer(random: Random, check: Check) -> Answer:
        if check.type != "agent":
            return Answer(True, 0.001)
        return Answer(words is not None, 0.001, agent=words)

    return answer


def world_of(checks: Check | Checks, seed: int = 1) -> Simulation:
    world = Simulation(config(pool("web", "a b", check=checks)), seed)
    world.run(until=SETTLED_S)
    return world


def after(world: Simulation, behaviour: Behaviour, seconds: float) -> Health:
    world.behave(A, behaviour)
    world.run(until=world.now + seconds)
    return world.view(A).health


@pytest.mark.parametrize("seed", SEEDS)
def test_endpoint_whose_checks_must_all_pass_is_down_with_the_first(seed: int) -> None:
    world = world_of(Checks((TCP, HTTP)), seed)
    assert after(world, failing("http"), DOWN_WITHIN_S) is DOWN
    [change] = [each.record for each in world.records if each.record.facts.get("to") == "DOWN"]
    assert change.facts["evidence"] == "http: 3 in a row failed: no answer"
    assert after(world, failing("tcp", "http"), 10.0) is DOWN
    assert after(world, failing("tcp"), 10.0) is DOWN
    assert after(world, failing(), UP_WITHIN_S) is UP
    assert len(world.changes(A, "health", "DOWN")) == 1


@pytest.mark.parametrize("seed", SEEDS)
def test_endpoint_of_which_one_check_must_pass_is_down_with_the_last(seed: int) -> None:
    world = world_of(Checks((TCP, HTTP), any_suffices=True), seed)
    assert after(world, failing("http"), 10.0) is UP
    assert after(world, failing("tcp"), 10.0) is UP
    assert after(world, failing("tcp", "http"), DOWN_WITHIN_S) is DOWN
    assert after(world, failing("tcp"), UP_WITHIN_S) is UP


def test_endpoint_that_was_added_is_up_when_all_its_checks_have_passed() -> None:
    slow = replace(HTTP, timeout_s=5.0)
    checks = Checks((TCP, slow))
    world = Simulation(config(pool("web", "b", check=checks)), 1)
    world.behave(A, lambda random, check: Answer(True, 4.0 if check is slow else 0.001))
    world.at(SETTLED_S, lambda: world.handle(ConfigLoaded(config(pool("web", "a b", check=checks)))))
    world.run(until=SETTLED_S + 3.9)
    assert world.view(A).health is Health.UNKNOWN
    world.run(until=SETTLED_S + 4.1)
    assert world.view(A).health is UP


# ---- Agents -------------------------------------------------------------------------------------------


def test_word_of_an_agent_holds_at_once_and_until_its_next_about_the_same() -> None:
    world = world_of(Checks((TCP, AGENT)))
    assert after(world, saying(AgentWords(up=False)), 1.01) is DOWN
    assert after(world, saying(AgentWords(percent=50)), 10.0) is DOWN
    assert after(world, saying(None), 10.0) is DOWN
    assert after(world, saying(AgentWords(up=True)), 2.01) is UP


def test_silence_of_an_agent_says_nothing() -> None:
    for checks in (Checks((TCP, AGENT)), AGENT):
        world = Simulation(config(pool("web", "a b", check=checks)), 1)
        world.behave(A, saying(None))
        world.run(until=60.0)
        assert world.view(A).health is UP
        assert not world.changes(A, "health", "DOWN")
        agent = world.view(A).checks[-1]
        assert agent.last_result is not None
        assert not agent.last_result.ok


def test_endpoint_that_was_added_waits_for_its_agent_only_where_nothing_else_is_asked() -> None:
    for checks, health in ((Checks((TCP, AGENT)), UP), (AGENT, Health.UNKNOWN)):
        world = Simulation(config(pool("web", "b", check=checks)), 1)
        world.behave(A, saying(None))
        world.run(until=SETTLED_S)
        world.handle(ConfigLoaded(config(pool("web", "a b", check=checks))))
        world.run(until=2 * SETTLED_S)
        assert world.view(A).health is health


@pytest.mark.parametrize("wish", [Agent.DRAIN, Agent.MAINT])
def test_agent_drains_its_endpoint_and_is_heard_on(wish: Agent) -> None:
    world = world_of(Checks((TCP, AGENT)))
    world.sessions[0] = 5
    after(world, saying(AgentWords(wish=wish)), 1.1)
    assert world.eligible("web") == {"b"}
    assert (world.view(A).admin, world.view(A).agent) == (Admin.READY, wish)
    world.run(until=world.now + 61.0)
    assert [command.endpoint_id for _, command in world.closed] == [0]
    after(world, saying(AgentWords(wish=Agent.READY)), 1.1)
    assert world.eligible("web") == {"a", "b"}


def test_neither_operator_nor_agent_undoes_what_the_other_wants() -> None:
    world = world_of(Checks((TCP, AGENT)))
    after(world, saying(AgentWords(wish=Agent.DRAIN)), 2.0)
    world.handle(OperatorOrdered(A, admin=Admin.DRAIN))
    after(world, saying(AgentWords(wish=Agent.READY)), 2.0)
    assert world.eligible("web") == {"b"}
    after(world, saying(AgentWords(wish=Agent.MAINT)), 2.0)
    world.handle(OperatorOrdered(A, admin=Admin.READY))
    world.run(until=world.now + 2.0)
    assert world.eligible("web") == {"b"}
    after(world, saying(AgentWords(wish=Agent.READY)), 2.0)
    assert world.eligible("web") == {"a", "b"}


def test_share_is_the_ordered_weight_times_what_the_agent_says() -> None:
    members = (endpoint("a", weight=10), endpoint("b", weight=10))
    world = Simulation(config(pool("web", members, check=Checks((TCP, AGENT)))), 1)
    world.run(until=SETTLED_S)

    def weight() -> int:
        return world.view(A).weight_effective

    after(world, saying(AgentWords(percent=25)), 2.0)
    assert weight() == 2
    world.handle(OperatorOrdered(A, weight=40))
    assert (world.view(A).weight, weight()) == (40, 10)
    after(world, saying(AgentWords(percent=1)), 2.0)
    assert weight() == 1
    after(world, saying(AgentWords(percent=0)), 2.0)
    assert (weight(), world.eligible("web")) == (0, {"b"})
    after(world, saying(AgentWords(percent=100)), 2.0)
    assert (weight(), world.eligible("web")) == (40, {"a", "b"})
    line = world.snapshot.endpoints[0]
    assert line is not None
    assert line.weight == 40


def test_what_an_agent_said_is_forgotten_with_its_check() -> None:
    world = world_of(Checks((TCP, AGENT)))
    after(world, saying(AgentWords(wish=Agent.DRAIN, percent=10)), 2.0)
    world.handle(ConfigLoaded(config(pool("web", "a b", check=TCP))))
    world.run(until=world.now + 1.0)
    assert world.eligible("web") == {"a", "b"}
    assert world.view(A).weight_effective == world.view(A).weight
