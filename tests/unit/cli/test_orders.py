"""Orders for one endpoint, and waiting until they have taken effect."""

from typing import Any

import pytest

from lb.cli import orders
from lb.cli.failure import NOT_REACHABLE, THE_ANSWER_IS_NO, USAGE
from tests.support.fake_lb import FakeLb, Lb

KEY = "web/10.0.0.1:80"
ROUTE = "POST /api/v1/pools/web/endpoints/10.0.0.1%3A80"
POOL = "GET /api/v1/pools/web"


def pool(**facts: Any) -> tuple[int, dict[str, Any]]:
    endpoint = {"name": "10.0.0.1:80", "health": "UP", "admin": "READY", "weight": 1, "sessions_open": 0}
    endpoint |= {"eligible": True, "drained": False, **facts}
    return 200, {"name": "web", "endpoints": [endpoint]}


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orders, "POLL_S", 0.001)


@pytest.mark.parametrize("verb", ["drain", "maint", "ready"])
def test_order_is_given_and_confirmed(lb: Lb, server: FakeLb, verb: str) -> None:
    server.answers[f"{ROUTE}/{verb}"] = 200, {}
    assert lb(verb, KEY) == (0, f"{KEY}: {verb.upper()}\n", "")
    assert server.asked == [(f"{ROUTE}/{verb}", {})]


def test_weight_is_given_as_a_number(lb: Lb, server: FakeLb) -> None:
    server.answers[f"{ROUTE}/weight"] = 200, {}
    assert lb("weight", KEY, "5") == (0, f"{KEY}: weight 5\n", "")
    assert server.asked == [(f"{ROUTE}/weight", {"weight": 5})]


def test_drain_that_waits_returns_when_no_session_is_left(lb: Lb, server: FakeLb) -> None:
    server.answers[f"{ROUTE}/drain"] = 200, {}
    server.answers[POOL] = [pool(sessions_open=2), pool(sessions_open=0), pool(drained=True)]
    assert lb("drain", KEY, "--wait") == (0, f"{KEY}: DRAIN, in effect\n", "")


def test_drain_that_waited_too_long_says_what_is_left(lb: Lb, server: FakeLb) -> None:
    server.answers[f"{ROUTE}/drain"] = 200, {}
    server.answers[POOL] = pool(sessions_open=1)
    ended = lb("drain", KEY, "--wait", "--timeout", "10ms")
    assert ended == (
        THE_ANSWER_IS_NO,
        "",
        f"lb: {KEY}: 1 session left after 0.01 s; the order stands\n",
    )


def test_drain_that_a_worker_may_not_know_of_is_not_in_effect(lb: Lb, server: FakeLb) -> None:
    """With a stopped worker, `--wait` said "in effect" as soon as no session was open."""
    server.answers[f"{ROUTE}/drain"] = 200, {}
    server.answers[POOL] = pool(sessions_open=0)
    ended = lb("drain", KEY, "--wait", "--timeout", "10ms")
    assert (ended.code, "not known to every worker yet" in ended.err) == (THE_ANSWER_IS_NO, True)


def test_ready_that_waits_returns_when_the_endpoint_is_eligible(lb: Lb, server: FakeLb) -> None:
    server.answers[f"{ROUTE}/ready"] = 200, {}
    server.answers[POOL] = [pool(eligible=False, health="UNKNOWN"), pool()]
    assert lb("ready", KEY, "--wait").code == 0


def test_ready_that_waited_too_long_says_what_stands_in_the_way(lb: Lb, server: FakeLb) -> None:
    server.answers[f"{ROUTE}/ready"] = 200, {}
    server.answers[POOL] = pool(eligible=False, weight=0)
    ended = lb("ready", KEY, "--wait", "--timeout", "10ms")
    assert ended.err == (
        f"lb: {KEY}: not eligible, health UP, admin READY, weight 0 after 0.01 s; the order stands\n"
    )


def test_endpoint_that_left_while_waiting_is_an_answer(lb: Lb, server: FakeLb) -> None:
    server.answers[f"{ROUTE}/drain"] = 200, {}
    server.answers[POOL] = 200, {"name": "web", "endpoints": []}
    assert lb("drain", KEY, "--wait").err == f"lb: {KEY} has left the configuration\n"


def test_order_for_an_unknown_endpoint_is_refused_in_the_words_of_lb(lb: Lb, server: FakeLb) -> None:
    server.answers[f"{ROUTE}/drain"] = 404, {"error": "there is no endpoint", "suggestion": "lb status"}
    assert lb("drain", KEY) == (THE_ANSWER_IS_NO, "", "lb: there is no endpoint; lb status\n")


@pytest.mark.parametrize(
    "words",
    [
        ("drain",),
        ("drain", "web"),
        ("drain", "/a"),
        ("drain", "web/"),
        ("drain", KEY, "--wait", "--timeout", "60"),
        ("weight", KEY, "257"),
        ("weight", KEY, "-1"),
        ("weight", KEY, "many"),
        ("nothing",),
        ("status", "--nothing"),
    ],
)
def test_command_line_that_makes_no_sense_asks_nothing_and_exits_2(
    lb: Lb, server: FakeLb, words: tuple[str, ...]
) -> None:
    ended = lb(*words)
    assert (ended.code, ended.out, server.asked) == (USAGE, "", [])
    assert ended.err


@pytest.mark.parametrize(
    "words", [("status",), ("reload",), ("drain", KEY), ("weight", KEY, "1"), ("events",)]
)
def test_command_without_a_running_lb_exits_3(lb: Lb, words: tuple[str, ...]) -> None:
    ended = lb(*words)
    assert (ended.code, ended.out) == (NOT_REACHABLE, "")
    assert ended.err.startswith("lb: cannot reach lb: ")
