"""Orders for one endpoint: drained, it gets nobody new, and keeps whom it has until they leave."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

from tests.support.endpoints import endpoints, ports_of
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.sessions import closed, echoes, is_refused, many
from tests.support.streams import InThread
from tests.support.waiting import eventually, throughout


def sessions_by_endpoint(lb: LbProcess) -> Counter[str]:
    return Counter({name: lb.endpoint(name)["sessions_open"] for name in "ab"})


def test_drain_with_wait_returns_when_the_last_session_has_left(folder: Path) -> None:
    port = free_port()
    with endpoints("echo", "a b", folder) as started:
        text = one_pool(port, ports_of(started), pool={"check": {"type": "tcp"}}, workers=2)
        with running_lb(text, folder) as lb, many(port, 20) as sessions:
            assert sessions_by_endpoint(lb) == {"a": 10, "b": 10}
            drain = InThread(lb.command, "drain", "web/a", "--wait")
            eventually(lambda: lb.endpoint("a")["admin"] == "DRAIN", within_s=5, reason="the order is taken")
            with many(port, 10):
                assert sessions_by_endpoint(lb) == {"a": 10, "b": 20}
            throughout(drain.is_alive, for_s=0.5, reason="--wait waits for the sessions")
            assert all(echoes(one) for one in sessions)
            for one in sessions:
                one.close()
            done = drain.result(5)
            assert done.returncode == 0, done
            assert lb.endpoint("a")["health"] == "UP"  # what is observed is not touched by an order

            done = lb.command("ready", "web/a", "--wait")
            assert done.returncode == 0, done
            with many(port, 10):
                assert sessions_by_endpoint(lb) == {"a": 5, "b": 5}


def test_drain_past_its_deadline_cuts_the_rest(folder: Path) -> None:
    port = free_port()
    with endpoints("echo", "a b", folder) as started:
        text = one_pool(port, ports_of(started), pool={"drain": "1s"}, workers=2)
        with running_lb(text, folder) as lb, many(port, 10) as sessions:
            asked_s = time.monotonic()
            done = lb.command("drain", "web/a", "--wait")
            took_s = time.monotonic() - asked_s
            print(f"\ndrain: 1s, `lb drain --wait` returned after {took_s:.2f} s")
            assert done.returncode == 0, done
            assert 0.9 < took_s < 4
            assert sessions_by_endpoint(lb) == {"a": 0, "b": 5}
            assert sum(echoes(one) for one in sessions) == 5
            eventually(lambda: len(lb.access()) == 5, within_s=5, reason="the cut sessions are logged")
            assert {(line["reason"], line["endpoint"]) for line in lb.access()} == {("drained", "a")}


def test_wait_that_runs_out_of_time_says_no_and_the_order_stands(folder: Path) -> None:
    port = free_port()
    with (
        endpoints("echo", "a b", folder) as started,
        running_lb(one_pool(port, ports_of(started), workers=1), folder) as lb,
        many(port, 4) as sessions,
    ):
        done = lb.command("drain", "web/a", "--wait", "--timeout", "500ms")
        assert done.returncode == 1, done
        assert lb.endpoint("a")["admin"] == "DRAIN"
        assert all(echoes(one) for one in sessions)


def test_endpoint_removed_by_reload_keeps_its_sessions_then_goes(folder: Path) -> None:
    port = free_port()
    with endpoints("echo", "a b", folder) as started:
        ports = ports_of(started)
        with running_lb(one_pool(port, ports, workers=2), folder) as lb, many(port, 10) as sessions:
            lb.replace(one_pool(port, {"b": ports["b"]}, workers=2))
            assert lb.reload()["ok"]
            assert lb.endpoint("a")["removed"] is True
            with many(port, 6):
                assert sessions_by_endpoint(lb) == {"a": 5, "b": 11}
            assert all(echoes(one) for one in sessions)
            for one in sessions:
                one.close()
            eventually(lambda: lb.endpoint("a") == {}, within_s=5, reason="it is gone with its last session")
            assert not lb.metrics().each("lb_endpoint_sessions_open", endpoint="a")


def test_order_for_an_endpoint_that_does_not_exist_is_refused(folder: Path) -> None:
    port = free_port()
    with (
        endpoints("echo", "a b", folder) as started,
        running_lb(one_pool(port, ports_of(started), workers=1), folder) as lb,
    ):
        done = lb.command("drain", "web/c")
        assert done.returncode == 1, done
        assert "no endpoint `c`" in done.stderr
        assert lb.ask("POST", "/api/v1/pools/web/endpoints/c/drain", {})[0] == 404


def test_listener_removed_by_reload_refuses_at_once_and_keeps_sessions(folder: Path) -> None:
    """After a listener is gone a connection is refused; it must not hang in a queue that nobody serves."""
    web, extra = free_port(), free_port()
    with endpoints("echo", "a b", folder) as started:
        one = one_pool(web, ports_of(started), workers=2)
        both = one.replace(
            '"web": {"bind"', f'"extra": {{"bind": "127.0.0.1:{extra}", "pool": "web"}}, "web": {{"bind"'
        )
        with running_lb(both, folder) as lb, many(extra, 4) as sessions:
            lb.replace(one)
            assert lb.reload()["ok"]
            eventually(
                lambda: is_refused(extra), within_s=12, reason="the port of the removed listener refuses"
            )
            assert all(echoes(session) for session in sessions)
            assert closed_none(sessions)


def closed_none(sessions: list) -> bool:
    for session in sessions:
        try:
            closed(session, within_s=0.05)
        except AssertionError:
            continue
        return False
    return True
