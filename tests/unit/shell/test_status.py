"""The JSON of /api/v1/status."""

from __future__ import annotations

import json

from lb import __version__
from lb.model.address import Address, UnixAddress
from lb.model.config import Config
from lb.model.listener import Listener
from lb.shell.observed import LastReload
from lb.shell.status import status
from tests.support.observed import ENDPOINTS, WALL_S, FakeFile, endpoint, observed


def test_status_says_what_runs() -> None:
    answer = status(observed())
    assert (answer["version"], answer["pid"], answer["state"]) == (__version__, 42, "running")
    assert (answer["started_at"], answer["generation"]) == (WALL_S - 100, 17)
    assert answer["config"] == {
        "path": "/etc/lb/lb.yaml",
        "hash": "ab12",
        "loaded_at": WALL_S - 50,
        "last_reload": {"success": True, "at": WALL_S - 50, "errors": []},
    }
    assert json.loads(json.dumps(answer)) == answer


def test_status_shows_the_errors_of_the_last_reload_and_every_warning() -> None:
    file = FakeFile(last=LastReload(False, WALL_S - 1, ("lb.yaml:3:1: no",)), warnings=("pool x is unused",))
    answer = status(observed(file=file))
    assert answer["config"]["last_reload"] == {
        "success": False,
        "at": WALL_S - 1,
        "errors": ["lb.yaml:3:1: no"],
    }
    assert answer["warnings"] == ["pool x is unused", "sessions_max was lowered to 1000"]


def test_status_lists_listeners_and_workers_with_their_sessions() -> None:
    answer = status(observed())
    assert answer["listeners"] == [
        {
            "name": "public",
            "binds": ["0.0.0.0:80", "[::]:80"],
            "pool": "web",
            "sessions_open": 3,
            "sessions_total": 30,
            "accepting": True,
        }
    ]
    assert answer["workers"] == [
        {"worker": 0, "pid": 43, "state": "serving", "sessions_open": 1, "restarts": 0},
        {"worker": 1, "pid": None, "state": "dead", "sessions_open": 2, "restarts": 2},
    ]


def test_status_tells_a_range_of_ports_as_one() -> None:
    binds = (*(Address("10.0.0.1", port) for port in range(9000, 9100)), UnixAddress("/run/web.sock"))
    config = Config(listeners=(Listener("public", binds, "web"),), pools=())
    [listener] = status(observed(config=config))["listeners"]
    assert listener["binds"] == ["10.0.0.1:9000-9099", "unix:/run/web.sock"]


def test_status_names_the_listener_that_nobody_accepts_from() -> None:
    """Defect: one of them, and all were shown as not accepting."""
    assert [each["accepting"] for each in status(observed(deaf={"public"}))["listeners"]] == [False]
    assert [each["accepting"] for each in status(observed(deaf={"another"}))["listeners"]] == [True]


def test_status_of_an_endpoint_says_how_it_is_since_when_and_why() -> None:
    web = status(observed())["pools"][0]
    assert (web["name"], web["policy"], web["queued"]) == ("web", "round_robin", 0)
    found = {each["name"]: each for each in web["endpoints"]}
    assert found["b"] == {
        "name": "b",
        "address": "10.0.0.2:80",
        "health": "DOWN",
        "admin": "READY",
        "agent": "READY",
        "ejected": False,
        "returns_in_s": None,
        "eligible": False,
        "removed": False,
        "drained": False,
        "since": WALL_S - 100,
        "weight": 1,
        "weight_effective": 1,
        "ramp_percent": 100,
        "priority": 0,
        "zone": None,
        "sessions_open": 2,
        "sessions_total": 20,
        "bytes_in": 200,
        "bytes_out": 2000,
        "connect_failures_total": 2,
        "checks_needed": "all",
        "checks": [
            {
                "type": "tcp",
                "interval_s": 1.0,
                "timeout_s": 0.8,
                "rise": 2,
                "fall": 3,
                "health": "DOWN",
                "last": {"at": WALL_S - 0.5, "ok": False, "detail": "connect: refused", "duration_ms": 1.0},
                "certificate_expires": None,
                "streak": -4,
                "next_run_in_s": 0.25,
                "held_down_for_s": 0.0,
            }
        ],
    }
    assert found["c"]["checks"][0]["last"] is None
    assert found["c"]["checks"][0]["next_run_in_s"] is None


def test_status_of_an_endpoint_without_a_check_says_so() -> None:
    (plain,) = [pool for pool in status(observed())["pools"] if pool["name"] == "plain"]
    assert (plain["policy"], plain["queued"]) == ("least_connections", 1)
    assert plain["endpoints"][0]["checks"] == []


def test_status_lists_what_was_removed_last() -> None:
    leaving = endpoint(7, "x", pool="old", removed=True)
    pools = status(observed(endpoints=(leaving, *ENDPOINTS)))["pools"]
    assert [(pool["name"], pool["policy"], pool["queued"]) for pool in pools][-1] == ("old", None, 0)
    assert [each["name"] for each in pools[0]["endpoints"]] == ["a", "b", "c", "new", "gone"]
