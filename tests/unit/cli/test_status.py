"""`lb status`: golden texts of what people see."""

import json
from typing import Any

import pytest

from lb.cli import status
from tests.support.fake_lb import FakeLb, Lb

NOW_S = 1_000_000.0


PASSING = {"type": "tcp", "health": "UP", "held_down_for_s": 0.0, "last": {"ok": True, "detail": "200"}}


def endpoint(name: str, **facts: Any) -> dict[str, Any]:
    return {
        "name": name,
        "address": "10.0.0.1:80",
        "health": "UP",
        "admin": "READY",
        "eligible": True,
        "removed": False,
        "since": NOW_S - 3600,
        "weight": 1,
        "weight_effective": 1,
        "ramp_percent": 100,
        "priority": 0,
        "zone": None,
        "sessions_open": 2,
        "sessions_total": 602,
        "bytes_in": 1536,
        "bytes_out": 20 << 20,
        "connect_failures_total": 0,
        "agent": "READY",
        "ejected": False,
        "returns_in_s": None,
        "checks": [PASSING],
        **facts,
    }


def failing(detail: str, health: str = "UP", held_s: float = 0.0) -> dict[str, Any]:
    return {
        "type": "http",
        "health": health,
        "held_down_for_s": held_s,
        "last": {"ok": False, "detail": detail},
    }


def answer(**facts: Any) -> dict[str, Any]:
    down = {
        "health": "DOWN",
        "eligible": False,
        "since": NOW_S - 12,
        "checks": [failing("connect: refused", "DOWN")],
    }
    return {
        "version": "0.1.0",
        "pid": 4242,
        "state": "running",
        "started_at": NOW_S - 11_520,
        "generation": 17,
        "config": {
            "path": "/etc/lb/lb.yaml",
            "hash": "0" * 64,
            "loaded_at": NOW_S - 300,
            "last_reload": {"success": True, "at": NOW_S - 300, "errors": []},
        },
        "listeners": [
            {
                "name": "web",
                "binds": ["0.0.0.0:8080", "[::]:8080"],
                "pool": "web",
                "sessions_open": 3,
                "sessions_total": 1204,
                "accepting": True,
            }
        ],
        "pools": [
            {
                "name": "web",
                "policy": "round_robin",
                "queued": 0,
                "panics": False,
                "endpoints": [
                    endpoint("a"),
                    endpoint("b", address="10.0.0.2:80", sessions_open=0, connect_failures_total=7, **down),
                ],
            }
        ],
        "workers": [
            {"worker": 0, "pid": 4243, "state": "serving", "sessions_open": 3, "restarts": 0},
            {"worker": 1, "pid": None, "state": "dead", "sessions_open": 0, "restarts": 4},
        ],
        "warnings": [],
        **facts,
    }


TABLES = """\
lb 0.1.0, pid 4242, running for 3h 12m, generation 17
/etc/lb/lb.yaml, loaded 5m ago

LISTENER  ADDRESS                  POOL  ACCEPTING  SESSIONS  TOTAL
web       0.0.0.0:8080, [::]:8080  web   yes               3   1204

POOL  ENDPOINT  ADDRESS      STATE                        WEIGHT  SESSIONS  TOTAL       IN     OUT  FAILED
web   a         10.0.0.1:80  UP 1h                             1         2    602  1.5 KiB  20 MiB       0
web   b         10.0.0.2:80  DOWN 12s "connect: refused"       1         0    602  1.5 KiB  20 MiB       7

WORKER   PID  STATE    SESSIONS  RESTARTS
0       4243  serving         3         0
1          -  dead            0         4
"""


@pytest.fixture(autouse=True)
def stopped_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW_S)


def test_status_in_a_pipe_is_aligned_text(lb: Lb, server: FakeLb) -> None:
    server.answers["GET /api/v1/status"] = 200, answer()
    assert lb("status") == (0, TABLES, "")


def test_status_shows_how_many_wait_where_somebody_does(lb: Lb, server: FakeLb) -> None:
    [pool] = answer()["pools"]
    server.answers["GET /api/v1/status"] = 200, answer(pools=[pool | {"queued": 12, "panics": False}])
    shown = lb("status").out
    assert "\n\nPOOL  QUEUED\nweb       12\n\nWORKER" in shown


def test_status_as_json_is_what_lb_answered(lb: Lb, server: FakeLb) -> None:
    server.answers["GET /api/v1/status"] = 200, answer()
    ended = lb("status", "--json")
    assert (ended.code, json.loads(ended.out)) == (0, answer())


def test_status_after_a_refused_reload_says_why_and_that_the_old_one_stays(lb: Lb, server: FakeLb) -> None:
    refused = {"success": False, "at": NOW_S - 120, "errors": ["lb.yaml:7:5: pools.web.polcy: unknown key"]}
    server.answers["GET /api/v1/status"] = (
        200,
        answer(config=answer()["config"] | {"last_reload": refused}, warnings=["pools.old: nobody uses it"]),
    )
    assert lb("status").err == (
        "the last reload was refused 2m ago; the configuration before it stays:\n"
        "  lb.yaml:7:5: pools.web.polcy: unknown key\n"
        "warning: pools.old: nobody uses it\n"
    )


def test_status_while_lb_starts_has_no_listeners_yet(lb: Lb, server: FakeLb) -> None:
    server.answers["GET /api/v1/status"] = 200, answer(state="starting", listeners=[], pools=[], workers=[])
    ended = lb("status")
    assert ended.code == 0
    assert "starting for 3h 12m" in ended.out


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "UP 1h"),
        ({"health": "UNKNOWN", "checks": [{"type": "tcp", "health": "UNKNOWN", "last": None}]}, "UNKNOWN 1h"),
        ({"health": "DOWN", "checks": [failing("timed out", "DOWN")]}, 'DOWN 1h "timed out"'),
        ({"checks": [failing("503")]}, 'UP 1h, last probe: "503"'),
        ({"health": "DOWN", "checks": [PASSING]}, 'DOWN 1h, last probe: "200"'),
        ({"admin": "DRAIN"}, "DRAIN 1h"),
        ({"admin": "DRAIN", "health": "DOWN"}, "DRAIN 1h, health DOWN"),
        ({"admin": "MAINT", "health": "UNKNOWN"}, "MAINT 1h"),
        ({"admin": "MAINT", "health": "UP"}, "MAINT 1h"),
        ({"removed": True, "eligible": False}, "REMOVED 1h"),
        ({"checks": []}, "UP 1h, not checked"),
        ({"checks": [], "admin": "DRAIN"}, "DRAIN 1h"),
        ({"ejected": True, "returns_in_s": 25.0}, "EJECTED 1h, 25s more"),
        ({"eligible": False, "priority": 1}, "UP 1h, stands by (priority 1)"),
        ({"ramp_percent": 40}, "UP 1h, at 40 % of its share"),
        ({"agent": "DRAIN"}, "DRAIN by its agent 1h"),
        ({"agent": "MAINT", "health": "DOWN"}, "MAINT by its agent 1h, health DOWN"),
        (
            {"health": "DOWN", "checks": [failing("refused", "DOWN", 9.0)]},
            'DOWN 1h "refused", held for 9s more',
        ),
        ({"checks": [PASSING, failing("503")]}, 'UP 1h, last probe: "http: 503"'),
        (
            {"health": "DOWN", "checks": [failing("503"), failing("refused", "DOWN")]},
            'DOWN 1h "http: refused"',
        ),
    ],
)
def test_state_of_an_endpoint_in_words(facts: dict[str, Any], words: str) -> None:
    assert status.state(endpoint("a", **facts), NOW_S) == words


def test_weight_that_is_not_in_effect_is_shown_with_the_one_that_is() -> None:
    assert status.weight(endpoint("a", weight=10, weight_effective=3)) == "3 of 10"
