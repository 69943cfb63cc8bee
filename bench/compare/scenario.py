"""What is asked of a proxy, and one measurement of it."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import memory
from bench.peers import Peer, Route
from bench.process import (
    LOAD_CPU,
    PROXY_CPU,
    READY_TIMEOUT_S,
    Child,
    Children,
    Failed,
    children,
    free_port,
    tree,
    wait_accepting,
)

WARMUP_S = 0.5
CLIENT_GRACE_S = 30.0  # opening 1000 sessions, starting Python
IDLE_SESSIONS = 4000


@dataclass(frozen=True)
class Scenario:
    """`unit` is what one operation is called; bulk counts GB (10^9 bytes)."""

    name: str
    title: str
    endpoint: str
    client: str
    sessions: int
    unit: str


SCENARIOS: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("connect", "connect, exchange, close; 64 in flight", "reply", "connect", 64, "connection"),
        Scenario("messages-1", "64-byte echo on 1 open session", "echo", "messages", 1, "exchange"),
        Scenario("messages-64", "64-byte echo on 64 open sessions", "echo", "messages", 64, "exchange"),
        Scenario("messages-1000", "64-byte echo on 1000 open sessions", "echo", "messages", 1000, "exchange"),
        Scenario("bulk-1", "bulk download, 1 stream", "source", "bulk", 1, "GB"),
        Scenario("bulk-4", "bulk download, 4 streams", "source", "bulk", 4, "GB"),
        Scenario("idle", f"{IDLE_SESSIONS} idle sessions", "echo", "hold", IDLE_SESSIONS, "session"),
    )
}


def measure(scenario: Scenario, peer: Peer, seconds: float) -> dict[str, Any]:
    """One sample. What went wrong stands in its `failed`; figures are only there when nothing did."""
    sample: dict[str, Any] = {"scenario": scenario.name, "peer": peer.name, "at": time.time()}
    with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder, children(Path(folder)) as started:
        try:
            endpoint_port = started.endpoint(scenario.endpoint)
            proxy, port = start_proxy(started, peer, [endpoint_port])
            run = measure_idle if scenario.name == "idle" else measure_load
            return sample | run(scenario, started, proxy, port[0], seconds)
        except Failed as failed:
            return sample | {"failed": str(failed)}


def start_proxy(started: Children, peer: Peer, endpoint_ports: list[int]) -> tuple[Child | None, list[int]]:
    """The proxy, accepting, and its ports; without a proxy: None, and the endpoints' ports."""
    if peer.command is None:
        return None, endpoint_ports
    routes = [Route(f"r{i}", free_port(), port) for i, port in enumerate(endpoint_ports)]
    child = started.start(peer.name, peer.command(routes, started.folder), PROXY_CPU)
    for route in routes:
        wait_accepting(child, route.port)
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while len(tree(child.pid)) < peer.processes_min:
        if time.monotonic() > deadline_s:
            raise child.failed(f"has fewer than {peer.processes_min} processes")
        time.sleep(0.02)
    return child, [route.port for route in routes]


def measure_load(
    scenario: Scenario, started: Children, proxy: Child | None, port: int, seconds: float
) -> dict[str, Any]:
    pids = tree(proxy.pid) if proxy else []
    words = ["--mode", scenario.client, "--port", str(port), "--sessions", str(scenario.sessions)]
    words += ["--seconds", str(seconds), "--warmup", str(WARMUP_S), "--pids", *map(str, pids)]
    result = started.load("client", *words).line(WARMUP_S + seconds + CLIENT_GRACE_S)
    if proxy and tree(proxy.pid) != pids:
        raise proxy.failed(f"its processes changed during the run: {pids} before, {tree(proxy.pid)} after")
    return result | figures(scenario, result, bool(pids))


def figures(scenario: Scenario, result: dict[str, Any], proxied: bool) -> dict[str, Any]:
    """The figures of the table: what the proxy used per unit, how many units a second, quantiles."""
    bulk = scenario.unit == "GB"
    units = result["bytes"] / 1e9 if bulk else result["operations"]
    cpu_s = sum(result["cpu_ns"].values()) / 1e9
    found: dict[str, Any] = {"errors_total": sum(result["errors"].values())}
    if units:
        found["rate"] = units / result["seconds"] * (8 if bulk else 1)
        if proxied:
            found["cpu"] = cpu_s / units * (1 if bulk else 1e6)
    if not bulk:
        found |= {"p50": result["latency_us"]["p50"], "p99": result["latency_us"]["p99"]}
    found["proxy_busy_percent"] = 100 * cpu_s / result["seconds"]
    found["load_busy_percent"] = result["machine_percent"][f"cpu{LOAD_CPU}"]["busy"]
    busy = result["machine_percent"][f"cpu{PROXY_CPU}"]["busy"]
    found["foreign_percent"] = max(busy - found["proxy_busy_percent"], 0.0) if proxied else 0.0
    found["steal_percent"] = max(cpu["steal"] for cpu in result["machine_percent"].values())
    return found


def measure_idle(
    scenario: Scenario, started: Children, proxy: Child | None, port: int, seconds: float
) -> dict[str, Any]:
    """User memory at rest, and what `scenario.sessions` sessions add after one exchange each."""
    if proxy is None:
        raise Failed("there is no proxy whose memory could be read")
    rest = memory.settled(lambda: tree(proxy.pid))
    words = ["--mode", "hold", "--port", str(port), "--sessions", str(scenario.sessions)]
    client = started.load("client", *words)
    client.line(CLIENT_GRACE_S)
    held = memory.settled(lambda: tree(proxy.pid))
    client.tell_end()
    result = client.line(CLIENT_GRACE_S)
    added = held["user_bytes"] - rest["user_bytes"]
    return {
        "errors": result["errors"],
        "errors_total": sum(result["errors"].values()) + scenario.sessions - result["sessions_open"],
        "rest": rest,
        "held": held,
        "rest_mb": rest["user_bytes"] / 1e6,
        "session_bytes": added / scenario.sessions,
    }
