"""An endpoint that cannot be reached costs a client nothing but time, and little of that."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.support.blackhole import blackhole
from tests.support.endpoints import endpoint, endpoints, ports_of
from tests.support.lb_process import one_pool, running_lb
from tests.support.load import exchanges
from tests.support.ports import free_port
from tests.support.sessions import connect, read_all
from tests.support.waiting import eventually, seconds_until, throughout

REFUSED_EXTRA_MS_MAX = 50  # the promise is 5 ms
HOLE_TIMEOUT_MS = 400
SILENT_DOWN_WITHIN_S = 4.0


def test_closed_ports_of_two_of_three_endpoints_fail_no_client(folder: Path) -> None:
    port = free_port()
    with (
        endpoints("http", "a b c", folder) as started,
        running_lb(one_pool(port, ports_of(started), workers=2), folder) as lb,
    ):
        started["b"].kill()
        started["c"].kill()
        with exchanges(port, folder, threads=4) as client:
            throughout(lb.ready, for_s=1.5, reason="lb serves")
        lines = lb.whole_access()
        failures = lb.metrics().each("lb_endpoint_connect_failures_total", reason="refused")
    retried = [line for line in lines if len(line["attempts"]) > 1]
    print(
        f"\n{client.exchanges} exchanges, {len(retried)} after a refusal, slowest {client.slowest_ms} ms, "
        f"failures {dict(client.kinds())}"
    )
    assert client.exchanges > 100
    assert not client.failures
    assert len(retried) > client.exchanges / 3
    assert {attempt["result"] for line in retried for attempt in line["attempts"][:-1]} == {"refused"}
    assert sum(failures.values()) == sum(len(line["attempts"]) - 1 for line in lines)
    late_ms = sorted(line["duration_ms"] - line["connect_ms"] - line["first_byte_ms"] for line in retried)
    print(f"late by the refusals: median {late_ms[len(late_ms) // 2]:.2f} ms, at most {late_ms[-1]:.2f} ms")
    assert late_ms[len(late_ms) // 2] < REFUSED_EXTRA_MS_MAX


def test_endpoint_that_drops_syns_makes_a_session_one_timeout_late_at_most(folder: Path) -> None:
    port = free_port()
    with endpoint("http", "a", folder) as a, blackhole() as hole:
        pool = {"connect": {"timeout": f"{HOLE_TIMEOUT_MS}ms"}}
        text = one_pool(port, {"a": a.port, "hole": hole.port}, pool=pool, workers=2)
        with running_lb(text, folder) as lb:
            with exchanges(port, folder, threads=8) as client:
                throughout(lambda: lb.health("hole") != "DOWN", for_s=3, reason="nobody checks the hole")
            timeouts = lb.metrics().sum(
                "lb_endpoint_connect_failures_total", endpoint="hole", reason="timeout"
            )
    print(f"\n{client.exchanges} exchanges, {timeouts:.0f} timeouts, slowest {client.slowest_ms} ms")
    assert not client.failures
    assert timeouts > 10
    assert HOLE_TIMEOUT_MS <= client.slowest_ms < 2 * HOLE_TIMEOUT_MS


@pytest.mark.parametrize("how", ["hangs", "is cut off"])
def test_endpoint_that_falls_silent_is_down_in_seconds(how: str, folder: Path) -> None:
    """Stopped, its kernel still answers a connect: only a check that reads an answer can tell."""
    port = free_port()
    with endpoints("http", "a b", folder) as started, blackhole(silent=False) as hole:
        ports = ports_of(started) | ({"b": hole.port} if how == "is cut off" else {})
        check = {"type": "http"} if how == "hangs" else {"type": "tcp"}
        with running_lb(one_pool(port, ports, pool={"check": check}, workers=1), folder) as lb:
            throughout(lambda: lb.health("b") == "UP", for_s=1.5, reason="b is UP before")
            start_s = time.monotonic()
            if how == "hangs":
                started["b"].process.signal_group(signal.SIGSTOP)
            else:
                hole.fall_silent()
            eventually(
                lambda: lb.health("b") == "DOWN", within_s=2 * SILENT_DOWN_WITHIN_S, reason="it is DOWN"
            )
            print(f"\nan endpoint that {how} is DOWN after {time.monotonic() - start_s:.2f} s")
            with connect(port) as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert b"200 OK" in read_all(client)
            if how == "hangs":
                started["b"].process.signal_group(signal.SIGCONT)
                up_s = seconds_until(lambda: lb.health("b") == "UP", within_s=8, reason="it answers again")
                print(f"and UP {up_s:.2f} s after it answers again")
