"""`lb events`: one line each."""

import json
import time
from typing import Any

import pytest

from lb.cli import events
from tests.support.fake_lb import FakeLb, Lb

WENT_DOWN = {
    "time": 0.0,
    "event": "endpoint_changed",
    "level": "warning",
    "pool": "web",
    "endpoint": "b",
    "axis": "health",
    "from": "UP",
    "to": "DOWN",
    "cause": "PROBE",
    "evidence": "connect: refused",
}


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (WENT_DOWN, "00:00:00  web/b  health UP -> DOWN  PROBE: connect: refused"),
        (
            WENT_DOWN | {"axis": "weight", "from": 1, "to": 5, "cause": "OPERATOR", "evidence": ""},
            "00:00:00  web/b  weight 1 -> 5  OPERATOR",
        ),
        (
            {"time": 3723.0, "event": "worker_lost", "level": "error", "worker": 1, "why": "signal 9"},
            "01:02:03  worker_lost  worker=1 why=signal 9",
        ),
        ({"time": 0.0, "event": "config_applied", "level": "info"}, "00:00:00  config_applied"),
    ],
)
def test_event_is_one_line(event: dict[str, Any], text: str) -> None:
    assert events.line(event) == text


def test_events_are_printed_in_order(lb: Lb, server: FakeLb) -> None:
    server.answers["GET /api/v1/events"] = 200, f"data: {json.dumps(WENT_DOWN)}\n\n".encode() * 2
    ended = lb("events", "--follow")
    assert (ended.code, ended.out) == (0, (events.line(WENT_DOWN) + "\n") * 2)


def test_events_as_json_are_one_object_a_line(lb: Lb, server: FakeLb) -> None:
    server.answers["GET /api/v1/events"] = 200, f"data: {json.dumps(WENT_DOWN)}\n\n".encode()
    assert json.loads(lb("events", "--json").out) == WENT_DOWN
