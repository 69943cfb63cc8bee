"""Which requests a browser made on behalf of a page that is not lb's."""

from __future__ import annotations

import pytest

from lb.shell.guard import refusal

HERE = "127.0.0.1:9900"


@pytest.mark.parametrize("host", [HERE, "localhost:9900", "localhost", "[::1]:9900", "10.0.0.7"])
def test_guard_lets_in_who_calls_by_address(host: str) -> None:
    assert refusal("GET", "/api/v1/status", {"Host": host}) is None
    assert refusal("POST", "/api/v1/reload", {"Host": host}) is None


@pytest.mark.parametrize(
    "host", ["evil.example:9900", "127.0.0.1.evil.example", "", "localhost.evil.example", "[::1"]
)
def test_guard_refuses_a_name_that_was_rebound_to_this_machine(host: str) -> None:
    assert refusal("GET", "/api/v1/status", {"Host": host})
    assert refusal("POST", "/api/v1/reload", {"Host": host, "Origin": f"http://{host}"})


@pytest.mark.parametrize("path", ["/live", "/ready", "/metrics"])
def test_guard_lets_monitoring_call_by_any_name(path: str) -> None:
    assert refusal("GET", path, {"Host": "lb.monitoring.svc:9900"}) is None


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", f"http://{HERE}.evil.example", "http://127.0.0.1"]
)
def test_guard_refuses_a_change_that_another_page_asks_for(origin: str) -> None:
    assert refusal("POST", "/api/v1/reload", {"Host": HERE, "Origin": origin})
    assert refusal("GET", "/api/v1/status", {"Host": HERE, "Origin": origin}) is None


def test_guard_lets_its_own_page_change_things() -> None:
    assert refusal("POST", "/api/v1/reload", {"Host": HERE, "Origin": f"http://{HERE}"}) is None
    assert refusal("POST", "/api/v1/reload", {"Host": HERE, "Sec-Fetch-Site": "same-origin"}) is None


def test_guard_refuses_what_a_browser_calls_cross_site() -> None:
    assert refusal("POST", "/api/v1/reload", {"Host": HERE, "Sec-Fetch-Site": "cross-site"})
