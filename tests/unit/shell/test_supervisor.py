"""What the supervisor answers to an operator, before and after it serves. No worker runs here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from lb.config import load
from lb.core.brain import UnknownEndpoint
from lb.core.events import ConfigLoaded
from lb.model.endpoint import Admin, EndpointKey
from lb.model.pool import ConnectRule
from lb.model.record import Record
from lb.shell.feed import Feed
from lb.shell.supervisor import Supervisor
from tests.support.exposition import Exposition

CONFIG = """\
sessions_max: 9000000
log: {level: error}
listeners:
  web: {bind: "127.0.0.1:8000", pool: web}
pools:
  web: {endpoints: [{name: a, address: "10.0.0.1:80"}, {name: b, address: "10.0.0.2:80"}]}
  spare: {endpoints: ["10.0.0.3:80"]}
"""
A = EndpointKey("web", "a")


@pytest.fixture
async def supervisor(tmp_path: Path) -> AsyncIterator[Supervisor]:
    path = tmp_path / "lb.yaml"
    path.write_text(CONFIG)
    made = Supervisor(path, load(path), Feed(), lambda: None)
    made.open_log()
    yield made
    made.performer.stop()
    made.log.stop(1.0)
    made.board.close()
    for ring in made.rings:
        ring.close()


async def loaded(supervisor: Supervisor) -> Supervisor:
    supervisor.performer.order(ConfigLoaded(load(supervisor.file.path).config))
    supervisor.state = "running"
    return supervisor


async def test_supervisor_that_starts_answers_and_is_not_ready(supervisor: Supervisor) -> None:
    assert supervisor.ready() == (False, "starting")
    status = supervisor.status()
    assert (status["state"], status["listeners"], status["pools"]) == ("starting", [], [])
    assert Exposition(supervisor.metrics().decode()).sum("lb_config_generation") == 0


async def test_supervisor_that_runs_shows_its_configuration(supervisor: Supervisor) -> None:
    status = (await loaded(supervisor)).status()
    assert [listener["name"] for listener in status["listeners"]] == ["web"]
    assert [endpoint["name"] for endpoint in status["pools"][0]["endpoints"]] == ["a", "b"]
    assert status["config"]["last_reload"]["success"] is True
    assert supervisor.config_text() == CONFIG


async def test_warnings_of_the_file_and_of_the_machine_are_both_shown(supervisor: Supervisor) -> None:
    warnings = (await loaded(supervisor)).status()["warnings"]
    assert any("spare" in warning for warning in warnings)
    assert any("sessions_max" in warning for warning in warnings)


async def test_warnings_of_the_machine_follow_the_configuration(supervisor: Supervisor) -> None:
    config = load(supervisor.file.path).config
    pools = (replace(config.pools[0], connect=ConnectRule(source=("192.0.2.7",))),)
    found = supervisor._config_changed(replace(config, pools=pools))
    assert "this machine has no address 192.0.2.7" in found[0]
    assert found[0] in supervisor.status()["warnings"]
    assert any("sessions_max" in warning for warning in supervisor.warnings)
    assert supervisor._config_changed(config) == []
    assert found[0] not in supervisor.status()["warnings"]


@pytest.mark.parametrize(
    ("state", "deaf", "why"),
    [
        ("running", set(), "ready"),
        ("running", {"web", "api"}, "no worker accepts from api, web"),
        ("draining", set(), "draining"),
    ],
)
async def test_ready_is_running_with_every_listener_accepting(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch, state: str, deaf: set[str], why: str
) -> None:
    supervisor.state = state
    monkeypatch.setattr(type(supervisor.crew), "deaf", deaf)
    assert supervisor.ready() == (why == "ready", why)


async def test_order_is_obeyed_and_says_who_gave_it(supervisor: Supervisor) -> None:
    await loaded(supervisor)
    supervisor.order(A, Admin.DRAIN, None, "unix uid 0 (root)")
    endpoint = supervisor.status()["pools"][0]["endpoints"][0]
    assert (endpoint["admin"], endpoint["eligible"]) == ("DRAIN", False)
    assert any("root" in str(event.get("evidence")) for event in supervisor.past())


async def test_order_for_an_unknown_endpoint_is_refused(supervisor: Supervisor) -> None:
    await loaded(supervisor)
    with pytest.raises(UnknownEndpoint):
        supervisor.order(EndpointKey("web", "z"), Admin.DRAIN, None, "")


async def test_reload_during_the_start_is_refused(supervisor: Supervisor) -> None:
    answer = await supervisor.reload()
    assert answer["ok"] is False
    assert "starting" in answer["errors"][0]["message"]


async def test_events_reach_those_who_subscribed(supervisor: Supervisor) -> None:
    reader = supervisor.subscribe()
    coming = asyncio.create_task(anext(reader))
    await asyncio.sleep(0)
    supervisor.emit(Record("worker_lost", "error", {"worker": 1}))
    assert (await coming)["event"] == "worker_lost"


async def test_same_moment_is_shown_as_the_same_time(supervisor: Supervisor) -> None:
    await loaded(supervisor)
    shown = {supervisor.status()["pools"][0]["endpoints"][0]["since"] for _ in range(200)}
    assert len(shown) == 1
