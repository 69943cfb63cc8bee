"""The end of lb: it says so first, lets sessions finish, and keeps to its deadline."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.load import exchanges
from tests.support.ports import free_port
from tests.support.sessions import closed, connect, echoes, is_refused, many, read_exactly
from tests.support.waiting import answers, eventually, seconds_until, throughout


def not_ready(lb: LbProcess) -> bool:
    found = answers(lambda: lb.ask("GET", "/ready"))
    return found is not None and found[0] == 503


def text(port: int, endpoint_port: int, shutdown: dict[str, Any], workers: int = 2) -> str:
    return one_pool(port, {"a": endpoint_port}, workers=workers, shutdown=shutdown)


def test_term_under_load_refuses_the_new_and_finishes_the_old(folder: Path) -> None:
    """Exchanges take 300 ms each: those under way when the signal comes are all answered."""
    port = free_port()
    with (
        endpoint("http", "a", folder, delay_ms=300) as a,
        running_lb(text(port, a.port, {"drain": "10s"}), folder) as lb,
    ):
        with exchanges(port, folder, threads=32) as client:
            throughout(lb.ready, for_s=1, reason="it is ready before")
            lb.signal(signal.SIGTERM)
            asked_s = time.monotonic()
            code = lb.wait(10, "no session is left")
            took_s = time.monotonic() - asked_s
        lines = lb.access()
    print(f"\n{client.exchanges} exchanges, then {dict(client.kinds())}; exit {code} after {took_s:.2f} s")
    assert code == 0
    assert client.exchanges >= 64
    assert set(client.kinds()) == {"connect refused"}
    assert {line["reason"] for line in lines} == {"done"}
    assert lb.process.family() == []


def test_term_says_not_ready_while_existing_sessions_live(folder: Path) -> None:
    port = free_port()
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(text(port, a.port, {"drain": "20s"}), folder) as lb,
        many(port, 20) as sessions,
    ):
        lb.signal(signal.SIGTERM)
        eventually(lambda: not_ready(lb), within_s=2, reason="/ready says 503")
        assert lb.ask("GET", "/live")[0] == 200
        assert "drain" in lb.ask("GET", "/ready")[1]
        eventually(lambda: is_refused(port), within_s=12, reason="new connections are refused")
        assert all(echoes(one) for one in sessions)
        assert lb.status()["state"] == "draining"
        assert lb.process.alive
        for one in sessions:
            one.close()
        ended_s = seconds_until(lambda: not lb.process.alive, within_s=5, reason="the last session ended")
        print(f"\nout {ended_s:.2f} s after its last session")
        assert lb.wait(1, "it ended") == 0


def test_pre_drain_goes_on_accepting_though_not_ready(folder: Path) -> None:
    """Load balancers in front need time to look at /ready: until then nobody is refused."""
    port = free_port()
    with endpoint("http", "a", folder) as a:
        shutdown = {"pre_drain": "1500ms", "drain": "5s"}
        with (
            running_lb(text(port, a.port, shutdown), folder) as lb,
            exchanges(port, folder, threads=4) as client,
        ):
            lb.signal(signal.SIGTERM)
            eventually(lambda: not_ready(lb), within_s=1, reason="/ready says 503 at once")
            from_s = time.monotonic()
            throughout(lambda: not_ready(lb), for_s=1.0, reason="it stays so")
            until_s = time.monotonic()
            assert lb.wait(8, "it has drained") == 0
    failed_before = [failure for failure in client.failures if failure.failed_at_s < until_s]
    assert not failed_before
    assert client.between(from_s, until_s)["a"] > 100


def test_drain_deadline_cuts_what_is_left(folder: Path) -> None:
    port = free_port()
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(text(port, a.port, {"drain": "1s"}), folder) as lb,
        many(port, 5) as sessions,
    ):
        addresses = [one.getsockname() for one in sessions]
        lb.signal(signal.SIGTERM)
        asked_s = time.monotonic()
        assert lb.wait(4, "the deadline is one second") == 0
        took_s = time.monotonic() - asked_s
        print(f"\ndrain: 1s, out after {took_s:.2f} s, ends {[closed(one, 1) for one in sessions]}")
        assert 0.9 < took_s < 2.5
        lines = [lb.session_line(address) for address in addresses]
        assert {(line["reason"], line["closed_by"]) for line in lines} == {("shutdown", "lb")}


def test_second_term_ends_the_drain_at_once(folder: Path) -> None:
    port = free_port()
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(text(port, a.port, {"drain": "60s"}), folder) as lb,
        many(port, 5) as sessions,
    ):
        lb.signal(signal.SIGTERM)
        eventually(lambda: not_ready(lb), within_s=2, reason="it drains")
        assert echoes(sessions[0])
        lb.signal(signal.SIGTERM)
        asked_s = time.monotonic()
        lb.wait(4, "a second TERM does not wait")
        took_s = time.monotonic() - asked_s
        print(f"\nout {took_s:.2f} s after the second TERM")
        assert took_s < 2
        assert lb.process.family() == []


def test_int_ends_it_like_term(folder: Path) -> None:
    port = free_port()
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(text(port, a.port, {"drain": "10s"}), folder) as lb,
    ):
        with connect(port) as client:
            client.sendall(b"hello")
            assert read_exactly(client, 5) == b"hello"
            lb.signal(signal.SIGINT)
            eventually(lambda: not_ready(lb), within_s=2, reason="it drains")
            assert echoes(client)
        assert lb.wait(5, "its last session ended") == 0
        assert not lb.socket_path.exists()


def test_start_on_a_taken_port_fails_with_the_reason(folder: Path) -> None:
    """A port that another program holds, even one that would share it, is an error, not a silent share."""
    with endpoint("echo", "a", folder) as a:
        lb = LbProcess(text(a.port, a.port, {}), folder)
        try:
            code = lb.wait(10, "it cannot listen")
            said = lb.process.err()
            assert code != 0
            assert f"127.0.0.1:{a.port}" in said
            assert "web" in said
            assert lb.process.family() == []
        finally:
            lb.process.end()
