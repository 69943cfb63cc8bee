"""One line per session, with the right reason and who closed it; and no reader of it holds up traffic."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.endpoints import endpoint, endpoints, ports_of
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.load import storm, storm_endpoints
from tests.support.ports import free_port
from tests.support.sessions import acceptor, closed, connect, echoes, many, reset, turned_away
from tests.support.streams import InThread
from tests.support.waiting import eventually

KEYS = [
    "time", "listener", "pool", "endpoint", "client", "peer", "local", "upstream", "attempts", "queue_ms",
    "connect_ms", "first_byte_ms", "duration_ms", "bytes_in", "bytes_out", "closed_by", "reason",
    "worker", "sni",
]  # fmt: skip


@contextmanager
def logged(folder: Path, pool: dict[str, Any], **listener: Any) -> Iterator[tuple[LbProcess, int]]:
    port = free_port()
    with running_lb(one_pool(port, {}, listener=listener, pool=pool, workers=1), folder) as lb:
        yield lb, port


def pool_of(port: int, **more: Any) -> dict[str, Any]:
    return {"endpoints": [{"name": "a", "address": f"127.0.0.1:{port}"} | more]}


def verdict(lb: LbProcess, client: tuple[str, int]) -> tuple[str, str, str | None]:
    line = lb.session_line(client)
    assert lb.metrics().sum("lb_sessions_closed_total", reason=line["reason"]) >= 1
    return line["reason"], line["closed_by"], line["endpoint"]


def test_done_has_every_fact_of_the_session(folder: Path) -> None:
    with endpoint("echo", "a", folder) as a, logged(folder, pool_of(a.port)) as (lb, port):
        with connect(port) as client:
            here = client.getsockname()
            assert echoes(client, b"12345")
        line = lb.session_line(here)
    print(f"\n{json.dumps(line)}")
    assert list(line) == KEYS
    assert (line["reason"], line["closed_by"]) == ("done", "client")
    assert (line["listener"], line["pool"], line["endpoint"]) == ("web", "web", "a")
    assert line["attempts"] == [{"endpoint": "a", "address": f"127.0.0.1:{a.port}", "result": "connected"}]
    assert (line["bytes_in"], line["bytes_out"], line["worker"]) == (5, 5, 0)
    assert line["local"] == f"127.0.0.1:{port}"
    assert line["upstream"].startswith("127.0.0.1:")
    assert 0 < line["connect_ms"] <= line["duration_ms"]
    assert 0 < line["first_byte_ms"] <= line["duration_ms"]


def test_resets_name_the_side_that_reset(folder: Path) -> None:
    with acceptor() as one, logged(folder, pool_of(one.port)) as (lb, port):
        session = one.session(port)
        here = session.client.getsockname()
        reset(session.client)
        assert verdict(lb, here) == ("client_reset", "client", "a")

        session = one.session(port)
        reset(session.upstream)
        assert verdict(lb, session.client.getsockname()) == ("endpoint_reset", "endpoint", "a")


def test_failed_connect_is_logged_with_its_attempts(folder: Path) -> None:
    ports = {name: free_port() for name in "ab"}
    members = [{"name": name, "address": f"127.0.0.1:{port}"} for name, port in ports.items()]
    with logged(folder, {"endpoints": members}) as (lb, port):
        line = lb.session_line(turned_away(port, within_s=3))
        assert (line["reason"], line["closed_by"]) == ("connect_failed", "lb")
        assert line["connect_ms"] is None
        assert {(one["endpoint"], one["result"]) for one in line["attempts"]} == {
            ("a", "refused"),
            ("b", "refused"),
        }


def test_nobody_eligible_is_logged_without_an_endpoint(folder: Path) -> None:
    with (
        endpoint("echo", "a", folder) as a,
        logged(folder, pool_of(a.port, admin="maint")) as (lb, port),
    ):
        client = turned_away(port, within_s=3)
        assert verdict(lb, client) == ("no_endpoint", "lb", None)
        assert lb.session_line(client)["attempts"] == []


def test_full_endpoint_refuses_with_its_own_reason(folder: Path) -> None:
    with (
        endpoint("echo", "a", folder) as a,
        logged(folder, pool_of(a.port, sessions_max=1)) as (lb, port),
        many(port, 1) as first,
    ):
        second = turned_away(port, within_s=3)
        assert verdict(lb, second) == ("refused_limit", "lb", None)
        assert lb.metrics().sum("lb_listener_refused_total") >= 1
        assert echoes(first[0])


def test_idle_session_ends_by_its_timeout(folder: Path) -> None:
    with (
        endpoint("echo", "a", folder) as a,
        logged(folder, pool_of(a.port), timeouts={"idle": "500ms"}) as (lb, port),
        connect(port) as client,
    ):
        assert echoes(client)
        closed(client, within_s=3)
        line = lb.session_line(client.getsockname())
        assert (line["reason"], line["closed_by"]) == ("idle_timeout", "lb")
        assert 450 < line["duration_ms"] < 1500


def test_half_closed_session_ends_by_its_timeout(folder: Path) -> None:
    with (
        endpoint("hold", "a", folder) as a,
        logged(folder, pool_of(a.port), timeouts={"half_close": "500ms"}) as (lb, port),
        connect(port) as client,
    ):
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        closed(client, within_s=3)
        assert verdict(lb, client.getsockname()) == ("half_close_timeout", "lb", "a")


def test_drained_session_is_cut_with_its_reason(folder: Path) -> None:
    with (
        endpoint("echo", "a", folder) as a,
        logged(folder, pool_of(a.port) | {"drain": "300ms"}) as (lb, port),
        many(port, 1) as sessions,
    ):
        assert lb.command("drain", "web/a").returncode == 0
        closed(sessions[0], within_s=3)
        assert verdict(lb, sessions[0].getsockname()) == ("drained", "lb", "a")


def test_down_endpoint_with_on_down_close_ends_its_sessions(folder: Path) -> None:
    """What is checked is another port, so the sessions themselves are well when the endpoint goes DOWN."""
    with endpoint("echo", "a", folder) as a, endpoint("http", "checked", folder) as checked:
        check = {"type": "tcp", "port": checked.port, "interval": "200ms", "interval_changing": "100ms"}
        with (
            logged(folder, pool_of(a.port) | {"check": check, "on_down": "close"}) as (lb, port),
            many(port, 1) as sessions,
        ):
            checked.kill()
            closed(sessions[0], within_s=5)
            assert verdict(lb, sessions[0].getsockname()) == ("endpoint_down", "lb", "a")


def test_every_session_has_exactly_one_line(folder: Path) -> None:
    with endpoints("echo", "a b", folder) as started:
        port = free_port()
        with running_lb(one_pool(port, ports_of(started), workers=2), folder) as lb:
            with many(port, 300):
                pass
            eventually(
                lambda: lb.metrics().sum("lb_listener_sessions_open") == 0, within_s=5, reason="all ended"
            )
            now = lb.metrics()
            assert now.sum("lb_listener_sessions_total") == now.sum("lb_sessions_closed_total") == 300
            assert len({line["client"] for line in lb.whole_access()}) == 300


def test_reader_of_the_log_that_is_stuck_blocks_nothing(folder: Path) -> None:
    """Nobody reads stdout. When somebody does again, whole lines come, and what was dropped was counted."""
    port = free_port()
    reading, writing = os.pipe()
    with storm_endpoints("reply", "a", folder) as ports:
        text = one_pool(port, ports, workers=1)
        with running_lb(text, folder, stdout=writing) as lb:
            os.close(writing)
            with storm("connect", port, folder, sessions=64, seconds=3) as load:
                errors, per_s = load.errors, load.per_s
            assert lb.ready()
            sessions = lb.metrics().sum("lb_listener_sessions_total")
            dropped = lb.metrics().sum("lb_access_log_dropped_total")
            with open(reading, "rb") as log:  # noqa: PTH123 (a descriptor)
                first = InThread(log.readline).result(5)
                lb.signal(signal.SIGTERM)
                rest = InThread(log.readlines).result(20)
    lines = [json.loads(line) for line in [first, *rest]]
    print(f"\n{per_s:.0f} connections/s, {sessions:.0f} sessions, {len(lines)} lines, {dropped:.0f} dropped")
    assert errors == {}
    assert per_s > 1000
    assert dropped > 0
    assert all(line["reason"] == "done" for line in lines)


def test_log_file_moved_away_is_opened_anew_on_usr1(folder: Path) -> None:
    port, path = free_port(), folder / "access.log"
    with endpoint("echo", "a", folder) as a:
        text = one_pool(port, {"a": a.port}, workers=1, log={"access": str(path), "format": "json"})
        with running_lb(text, folder) as lb:
            with many(port, 3):
                pass
            eventually(lambda: lines_in(path) == 3, within_s=5, reason="three sessions are logged")
            path.rename(folder / "access.log.1")
            lb.signal(signal.SIGUSR1)
            eventually(path.exists, within_s=5, reason="the file is made anew")
            with many(port, 2):
                pass
            eventually(lambda: lines_in(path) == 2, within_s=5, reason="two sessions are in the new file")
            assert lines_in(folder / "access.log.1") == 3


def lines_in(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0
