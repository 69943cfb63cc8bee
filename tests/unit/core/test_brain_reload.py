"""What a reload changes, and what it leaves alone."""

from dataclasses import replace

import pytest

from lb.core.brain import Brain
from lb.core.commands import CancelProbe, PublishSnapshot, StartProbe
from lb.core.events import ConfigLoaded, OperatorOrdered, ProbeFinished
from lb.model.config import Config, Log
from lb.model.endpoint import Admin, Endpoint, Health
from lb.model.pool import ConnectRule, Policy
from tests.support.configurations import FAILED, PASSED, STEADY, config, endpoint, key, listener, pool
from tests.support.playbook import Playbook, Slot

A, B, C = key("web/a"), key("web/b"), key("web/c")
SURE = replace(STEADY, fall=1, interval_s=600.0, interval_down_s=600.0)


def web(*endpoints: Endpoint, **rest: object) -> Config:
    return config(pool("web", endpoints, **rest))


def serving(loaded: Config) -> Playbook:
    play = Playbook(Brain(1))
    assert play >> ConfigLoaded(loaded) << PublishSnapshot
    return play


def state(play: Playbook, name: str) -> tuple[str, str, int]:
    [found] = [each for each in play.brain.endpoints() if each.key.endpoint == name and not each.removed]
    return found.health.value, found.admin.value, found.weight


def one_down() -> Playbook:
    """Of a, b and c, b is DOWN; no probe runs for the next minutes."""
    play = serving(config(pool("web", "a b c", check=SURE)))
    play >> 601.0
    for started in play.take(StartProbe):
        play >> ProbeFinished(started.probe, started.key, FAILED if started.key == B else PASSED)
        play.skip()
    assert play.eligible("web") == "a c"
    return play


# ---- Nothing changed --------------------------------------------------------------------------------


def test_reload_of_the_same_configuration_only_says_so() -> None:
    play = serving(config(pool("web", "a b", check=STEADY)))
    assert play >> ConfigLoaded(config(pool("web", "a b", check=STEADY)))
    [record] = play.records
    assert (record.event, record.facts) == ("config_applied", {"generation": 1, "unchanged": True})


def test_reload_that_touches_no_line_publishes_nothing() -> None:
    loaded = config(pool("web", "a b"))
    play = serving(loaded)
    assert play >> ConfigLoaded(replace(loaded, log=Log(level="debug")))
    [record] = play.records
    assert record.facts["unchanged"] is False
    assert play.brain.generation == 1


def test_reload_counts_what_came_and_what_went() -> None:
    play = serving(config(pool("web", "a b c")))
    assert play >> ConfigLoaded(config(pool("web", "c d"))) << PublishSnapshot
    [record] = play.recorded("config_applied")
    assert record.facts["generation"] == 2
    assert (
        record.facts["endpoints"],
        record.facts["endpoints_added"],
        record.facts["endpoints_removed"],
    ) == (2, 1, 2)


# ---- Health is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changed",
    [
        {"policy": Policy.LEAST_CONNECTIONS},
        {"drain_s": 5.0},
        {"connect": ConnectRule(2.5, 2)},
    ],
)
def test_reload_that_leaves_check_and_address_keeps_health_and_its_probes(changed: dict[str, object]) -> None:
    play = one_down()
    runs = {each.id: [(one.next_run_s, one.streak) for one in each.checks] for each in play.brain.endpoints()}
    play >> ConfigLoaded(config(pool("web", "a b c", check=SURE, **changed)))
    assert play.skip()
    assert play.eligible("web") == "a c"
    assert {
        each.id: [(one.next_run_s, one.streak) for one in each.checks] for each in play.brain.endpoints()
    } == runs


def test_reload_with_new_weights_keeps_health() -> None:
    play = one_down()
    heavier = [endpoint(name, weight=9, sessions_max=5) for name in "abc"]
    assert play >> ConfigLoaded(web(*heavier, check=SURE)) << PublishSnapshot
    assert [state(play, name) for name in "abc"] == [
        ("UP", "READY", 9),
        ("DOWN", "READY", 9),
        ("UP", "READY", 9),
    ]
    line = play.snapshot.endpoints[0]
    assert line is not None
    assert (line.weight, line.sessions_max) == (9, 5)


def test_reload_while_a_probe_runs_takes_its_result() -> None:
    play = one_down()
    play >> 600.0
    running = {each.key: each.probe for each in play.take(StartProbe)}
    assert play >> ConfigLoaded(config(pool("web", "a b c", check=SURE, drain_s=1.0)))
    assert play >> ProbeFinished(running[A], A, FAILED) << PublishSnapshot
    assert play.eligible("web") == "c"


# ---- The check changed ------------------------------------------------------------------------------


def test_reload_with_another_check_observes_anew_under_the_same_id() -> None:
    play = one_down()
    other = replace(SURE, port=81)
    before = {each.key: each.id for each in play.brain.endpoints()}
    play >> ConfigLoaded(config(pool("web", "a b c", check=other)))
    assert play.recorded("endpoint_changed", endpoint="b", from_="DOWN", to="UNKNOWN", cause="CONFIG")
    assert {each.key: each.id for each in play.brain.endpoints()} == before
    assert [started.key for started in play.take(StartProbe)] == [A, B, C]


def test_reload_with_another_check_never_leaves_the_pool_dark() -> None:
    play = one_down()
    play >> ConfigLoaded(config(pool("web", "a b c", check=replace(SURE, port=81))))
    started = {each.key: each.probe for each in play.take(StartProbe)}
    assert play.eligible("web") == "a b c"
    assert play >> 0.1 >> ProbeFinished(started[A], A, PASSED) << PublishSnapshot
    assert play.eligible("web") == "a"


def test_reload_with_another_check_cancels_the_probe_of_the_old_one() -> None:
    play = one_down()
    play >> 600.0
    old = play.take(StartProbe)
    play >> ConfigLoaded(config(pool("web", "a b c", check=replace(SURE, port=81))))
    assert {each.probe for each in play.take(CancelProbe)} == {each.probe for each in old}
    assert play >> ProbeFinished(old[0].probe, old[0].key, FAILED)
    assert state(play, "a")[0] == "UNKNOWN"


def test_reload_that_takes_the_check_away_makes_endpoints_up() -> None:
    play = one_down()
    assert play >> ConfigLoaded(config(pool("web", "a b c"))) << PublishSnapshot
    assert play.recorded("endpoint_changed", endpoint="b", from_="DOWN", to="UP", cause="CONFIG")
    assert play.eligible("web") == "a b c"
    assert play >> 3600.0


def test_reload_that_brings_the_first_check_waits_for_a_verdict() -> None:
    play = serving(config(pool("web", "a b")))
    play >> ConfigLoaded(config(pool("web", "a b", check=SURE)))
    assert len(play.take(StartProbe)) == 2
    assert {each.health for each in play.brain.endpoints()} == {Health.UNKNOWN}
    assert play.eligible("web") == "a b"


# ---- Endpoints come ---------------------------------------------------------------------------------


def test_endpoint_added_is_probed_at_once_and_takes_no_session_before_its_first_pass() -> None:
    play, probe = one_down(), Slot()
    assert play >> ConfigLoaded(config(pool("web", "a b c d", check=SURE))) << PublishSnapshot << probe
    assert probe().key == key("web/d")
    assert play.eligible("web") == "a c"
    assert play >> 0.1 >> ProbeFinished(probe().probe, probe().key, PASSED) << PublishSnapshot
    assert play.eligible("web") == "a c d"


def test_endpoint_added_whose_first_probe_fails_is_down_at_once() -> None:
    patient = replace(STEADY, fall=3)
    play, probe = serving(config(pool("web", "a", check=patient))), Slot()
    assert play >> ConfigLoaded(config(pool("web", "a b", check=patient))) << PublishSnapshot << probe
    assert play >> ProbeFinished(probe().probe, B, FAILED)
    assert state(play, "b")[0] == "DOWN"


def test_endpoint_added_where_nothing_else_serves_is_presumed_to() -> None:
    drained = endpoint("a", admin=Admin.DRAIN)
    play, probe = serving(web(drained, check=SURE)), Slot()
    assert play.eligible("web") == ""
    assert play >> ConfigLoaded(web(drained, endpoint("b"), check=SURE)) << PublishSnapshot << probe
    assert play.eligible("web") == "b"
    [record] = play.recorded("endpoint_changed", endpoint="b", axis="eligible", to=True)
    assert record.facts["evidence"] == "no other endpoint of the pool is eligible"
    assert play >> 0.1 >> ProbeFinished(probe().probe, B, FAILED) << PublishSnapshot
    assert play.eligible("web") == ""


def test_endpoint_added_with_initial_unknown_is_presumed_nothing() -> None:
    strict = replace(SURE, initial_up=False)
    play = serving(config(pool("web", "", check=strict)))
    assert play >> ConfigLoaded(config(pool("web", "a", check=strict))) << PublishSnapshot << StartProbe
    assert play.eligible("web") == ""


def test_endpoint_added_in_maint_is_not_probed() -> None:
    play = serving(config(pool("web", "a", check=SURE)))
    loaded = web(endpoint("a"), endpoint("b", admin=Admin.MAINT), check=SURE)
    assert play >> ConfigLoaded(loaded) << PublishSnapshot >> 0.4
    assert state(play, "b") == ("UNKNOWN", "MAINT", 1)


# ---- Endpoints go -----------------------------------------------------------------------------------


def test_endpoint_removed_while_its_probe_runs_has_it_cancelled() -> None:
    play = one_down()
    play >> 600.0
    running = {each.key: each.probe for each in play.take(StartProbe)}
    loaded = config(pool("web", "b c", check=SURE))
    assert play >> ConfigLoaded(loaded) << PublishSnapshot << CancelProbe(running[A])
    assert play >> ProbeFinished(running[A], A, PASSED)
    assert play.eligible("web") == "c"


# ---- The file and the operator ----------------------------------------------------------------------


def ordered() -> Playbook:
    """The operator drained a and gave b the weight 7."""
    play = serving(config(pool("web", "a b")))
    assert play >> OperatorOrdered(A, admin=Admin.DRAIN) << PublishSnapshot
    assert play >> OperatorOrdered(B, weight=7) << PublishSnapshot
    return play


def test_orders_outlive_a_reload_that_says_what_the_file_said() -> None:
    play = ordered()
    assert play >> ConfigLoaded(config(pool("web", "a b c"))) << PublishSnapshot
    assert [state(play, name) for name in "abc"] == [
        ("UP", "DRAIN", 1),
        ("UP", "READY", 7),
        ("UP", "READY", 1),
    ]


def test_orders_yield_to_the_file_where_its_own_value_changed() -> None:
    play = ordered()
    loaded = web(endpoint("a", admin=Admin.MAINT), endpoint("b", weight=3))
    assert play >> ConfigLoaded(loaded) << PublishSnapshot
    assert play.recorded("endpoint_changed", endpoint="a", axis="admin", to="MAINT", cause="CONFIG")
    assert [state(play, name) for name in "ab"] == [("UP", "MAINT", 1), ("UP", "READY", 3)]


def test_orders_yield_key_by_key() -> None:
    play = ordered()
    assert play >> OperatorOrdered(A, weight=9) << PublishSnapshot
    assert play >> ConfigLoaded(web(endpoint("a", weight=2), endpoint("b"))) << PublishSnapshot
    assert [state(play, name) for name in "ab"] == [("UP", "DRAIN", 2), ("UP", "READY", 7)]


def test_orders_pass_on_to_the_same_name_under_another_address() -> None:
    play = ordered()
    loaded = web(endpoint("a", host="10.7.7.7"), endpoint("b", host="10.7.7.8"))
    assert play >> ConfigLoaded(loaded) << PublishSnapshot
    assert [state(play, name) for name in "ab"] == [("UP", "DRAIN", 1), ("UP", "READY", 7)]


def test_orders_end_with_the_endpoint() -> None:
    play = ordered()
    assert play >> ConfigLoaded(config(pool("web", "b")))
    assert play >> ConfigLoaded(config(pool("web", "a b"))) << PublishSnapshot
    assert state(play, "a") == ("UP", "READY", 1)


# ---- Listeners --------------------------------------------------------------------------------------


def test_listener_that_moves_to_another_pool_keeps_its_id() -> None:
    pools = (pool("web", "a"), pool("api", "b"))
    play = serving(config(*pools, listeners=(listener("x", pool="web"),)))
    assert play >> ConfigLoaded(config(*pools, listeners=(listener("x", pool="api"),))) << PublishSnapshot
    line = play.snapshot.listeners[play.brain.listener_ids["x"]]
    assert line is not None
    assert line.pool == play.brain.pool_ids["api"]
