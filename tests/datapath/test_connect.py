"""Connecting: a failure costs the client nothing while another endpoint is there; the right one is blamed."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from lb.model.pool import Policy
from tests.support.blackhole import blackhole
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.netns import run_in_netns
from tests.support.ports import free_port
from tests.support.scripted_endpoint import FIN, RESET, ScriptedEndpoint, read_exactly, read_to_end
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import Scene

    from lb.model.snapshot import Snapshot

SESSIONS_MAX = 64  # one chance in 2^64 that all begin at the same one of two endpoints
POLICIES = [Policy.ROUND_ROBIN, Policy.LEAST_CONNECTIONS]


def refusing(count: int) -> list[tuple[str, int]]:
    return [("127.0.0.1", free_port()) for _ in range(count)]


def attempts(record: dict) -> list[tuple[str, str]]:
    return [(attempt["endpoint"], attempt["result"]) for attempt in record["attempts"]]


def speaks(bench: EngineBench, scene: Scene, endpoint: ScriptedEndpoint) -> None:
    client, server = scene.session(bench, endpoint)
    client.sendall(b"hello")
    assert read_exactly(server, 5) == b"hello"
    client.close()
    server.close()


@pytest.mark.parametrize("policy", POLICIES)
def test_refused_connect_is_tried_at_another_endpoint(scene: Scene, policy: Policy) -> None:
    endpoint = scene.endpoint()
    addresses = [*refusing(2), endpoint.address]
    bench = scene.bench(snapshot_of(addresses, policy=policy))
    for _ in range(30):
        speaks(bench, scene, endpoint)
    records = scene.records(bench, 30)
    assert {record["reason"] for record in records} == {"done"}
    assert all(attempts(record)[-1] == ("e2", "connected") for record in records)
    assert {result for record in records for _, result in attempts(record)[:-1]} == {"refused"}
    failures = bench.call(bench.engine.take_failures)
    seen = [sum(name == f"e{i}" for record in records for name, _ in attempts(record)[:-1]) for i in (0, 1)]
    assert failures == {i: {"refused": seen[i], "in_row": seen[i]} for i in (0, 1) if seen[i]}
    assert [bench.board.endpoint(i).connect_failures["refused"] for i in (0, 1, 2)] == [*seen, 0]
    assert bench.call(bench.engine.take_failures) == {}, "each is told once"


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("endpoints", "attempts_max"), [(5, 1), (5, 3), (2, 3), (8, 8)])
def test_attempts_are_bounded_and_each_endpoint_is_tried_once(
    scene: Scene, policy: Policy, endpoints: int, attempts_max: int
) -> None:
    bench = scene.bench(snapshot_of(refusing(endpoints), policy=policy, attempts_max=attempts_max))
    for _ in range(10):
        assert scene.is_reset(bench.address)
    for record in scene.records(bench, 10):
        assert (record["reason"], record["closed_by"], record["endpoint"]) == ("connect_failed", "lb", None)
        assert len(record["attempts"]) == min(endpoints, attempts_max)
        assert len({name for name, _ in attempts(record)}) == len(record["attempts"]), "none is tried twice"


@pytest.mark.parametrize("policy", POLICIES)
def test_endpoint_that_answers_no_syn_is_given_up_for_another(scene: Scene, policy: Policy) -> None:
    endpoint = scene.endpoint()
    port = scene.enter(blackhole()).port
    bench = scene.bench(
        snapshot_of([("127.0.0.1", port), endpoint.address], policy=policy, connect_timeout_ms=100)
    )
    given_up: list[dict] = []
    for _ in range(SESSIONS_MAX):  # least_connections draws lots
        speaks(bench, scene, endpoint)
        given_up += [one for one in scene.records(bench, 1) if attempts(one)[0] == ("e0", "timeout")]
        if len(given_up) == 2:
            break
    assert given_up, "none began at the silent one"
    for record in given_up:
        assert attempts(record)[1] == ("e1", "connected")
        assert 99 <= record["duration_ms"] < 2000
    assert bench.board.endpoint(0).connect_failures["timeout"] == len(given_up)
    assert bench.board.endpoint(0).sessions_total == 0


def test_endpoint_out_of_reach_is_given_up_for_another() -> None:
    """Where nothing but loopback is, no other address has a route."""
    script = """
import json, socket
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([("192.0.2.1", 9), endpoint.address])).start()
for _ in range(2):
    socket.create_connection(bench.address, timeout=10).close()
    endpoint.accept().close()
bench.stop()
bench.turn_until(bench.is_empty)
attempts = [[one["result"] for one in json.loads(line)["attempts"]] for line in bench.lines()]
assert sorted(attempts) == [["connected"], ["unreachable", "connected"]], attempts
assert bench.engine.take_failures() == {0: {"unreachable": 1, "in_row": 1}}
print("done")
"""
    assert run_in_netns(script) == "done\n"


def test_client_that_speaks_while_another_endpoint_is_tried_is_heard(scene: Scene) -> None:
    endpoint = scene.endpoint()
    port = scene.enter(blackhole()).port
    bench = scene.bench(
        snapshot_of([("127.0.0.1", port), endpoint.address], connect_timeout_ms=100, eligible=[0, 0, 0, 1])
    )
    client = scene.client(bench.address)
    client.sendall(b"early")
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (b"early", FIN)


def test_pool_without_an_eligible_endpoint_resets_and_says_no_endpoint(scene: Scene) -> None:
    for policy in POLICIES:
        bench = scene.bench(snapshot_of(refusing(2), eligible=[], policy=policy))
        assert scene.is_reset(bench.address)
        record = scene.record(bench)
        assert (record["reason"], record["attempts"], record["pool"]) == ("no_endpoint", [], "pool")
        refused = bench.board.listener(0).refused
    assert {reason: count for reason, count in refused.items() if count} == {"no_endpoint": 1}


def test_pool_whose_endpoints_are_all_full_resets_and_says_refused_limit(scene: Scene) -> None:
    for policy in POLICIES:
        endpoint, other = scene.endpoint(), scene.endpoint()
        bench = scene.relay(endpoint, other, policy=policy, endpoint_sessions_max=2)
        taken = [scene.client(bench.address) for _ in range(4)]
        eventually(
            lambda b=bench: b.board.sessions_open_by_endpoint() == {0: 2, 1: 2},
            within_s=5,
            reason="both are full",
        )
        assert scene.is_reset(bench.address)
        assert scene.record(bench)["reason"] == "refused_limit"
        taken[0].close()
        endpoint.accept().close()
        other.accept().close()


# ---- The retry budget ----

RETRIES_MIN = 10
HUNG = 15


def hung_bench(scene: Scene, percent: int) -> tuple[EngineBench, Callable[[int], None]]:
    """Endpoints that answer nobody; HUNG sessions have met a timeout, and stay on what they do then. Also a
    function that lets more come, until each has met a timeout too."""
    holes = [("127.0.0.1", scene.enter(blackhole()).port) for _ in range(3)]

    def snapshot(connect_timeout_ms: int) -> Snapshot:
        return snapshot_of(holes, retry_budget_percent=percent, connect_timeout_ms=connect_timeout_ms)

    bench = scene.bench(snapshot(200), started=False)

    def come(count: int) -> None:
        before = timeouts(bench)
        open_before = bench.engine.sessions_open
        bench.publish(snapshot(200))
        for _ in range(count):
            scene.client(bench.address)
        bench.turn_until(lambda: bench.engine.sessions_open == open_before + count)
        bench.publish(snapshot(60_000))
        bench.turn_until(lambda: timeouts(bench) == before + count)

    come(HUNG)
    return bench, come


def timeouts(bench: EngineBench) -> int:
    return sum(bench.board.endpoint(number).connect_failures["timeout"] for number in range(3))


def test_retry_budget_that_is_used_up_refuses_further_attempts(scene: Scene) -> None:
    """Those that began in one millisecond were not counted against each other; who comes later is."""
    bench, come = hung_bench(scene, 1)
    first = bench.board.pool(0).retries_total
    assert RETRIES_MIN <= first <= HUNG
    assert bench.engine.held()["retrying"] == first
    come(20)
    counts = bench.board.pool(0)
    assert (counts.retries_total, counts.retries_refused_total) == (
        max(first, RETRIES_MIN),
        HUNG + 20 - first,
    )
    assert bench.board.listener(0).closed["connect_failed"] == HUNG + 20 - first
    bench.engine.close_some(-1, -1, "shutdown", 0)


def test_retry_budget_grows_with_the_open_sessions(scene: Scene) -> None:
    bench, come = hung_bench(scene, 90)
    come(20)
    counts = bench.board.pool(0)
    assert counts.retries_total > HUNG, "nine tenths of 35 are more than 15"
    bench.engine.close_some(-1, -1, "shutdown", 0)


@pytest.mark.parametrize(("percent", "refused"), [(0, HUNG), (100, 0)])
def test_retry_budget_of_0_and_100_percent_is_none_and_no_bound(
    scene: Scene, percent: int, refused: int
) -> None:
    bench, _ = hung_bench(scene, percent)
    counts = bench.board.pool(0)
    assert (counts.retries_total, counts.retries_refused_total) == (HUNG - refused, refused)
    assert bench.board.listener(0).closed["connect_failed"] == refused
    bench.engine.close_some(-1, -1, "shutdown", 0)


def test_closed_ports_never_meet_the_retry_budget(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(snapshot_of([*refusing(2), endpoint.address], retry_budget_percent=1))
    clients = [scene.client(bench.address) for _ in range(200)]
    eventually(lambda: bench.board.endpoint(2).sessions_total == len(clients), within_s=10, reason="served")
    counts = bench.board.pool(0)
    assert counts.retries_refused_total == 0
    assert counts.retries_total == sum(bench.board.endpoint(n).connect_failures["refused"] for n in (0, 1))


# ---- Orders to an endpoint's sessions ----


@pytest.mark.parametrize("reason", ["endpoint_down", "drained"])
def test_close_of_an_endpoint_sends_sessions_that_connect_to_it_elsewhere(scene: Scene, reason: str) -> None:
    """They have lost nothing yet, however few attempts they may make."""
    endpoint = scene.endpoint()
    addresses = [("127.0.0.1", scene.enter(blackhole()).port), endpoint.address]
    bench = scene.bench(snapshot_of(addresses, eligible=[0], connect_timeout_ms=60_000, attempts_max=1))
    client = scene.client(bench.address)
    client.sendall(b"patience")
    eventually(lambda: bench.board.sessions_open_by_endpoint() == {0: 1}, within_s=5, reason="it connects")
    bench.call(bench.publish, snapshot_of(addresses, generation=2, eligible=[1], attempts_max=1))
    assert bench.call(bench.engine.close_some, 0, -1, reason, 0) == -1
    server = scene.enter(endpoint.accept())
    assert read_exactly(server, 8) == b"patience"
    client.close()
    server.close()
    record = scene.record(bench)
    assert (record["reason"], attempts(record)) == ("done", [("e1", "connected")])
    assert bench.call(bench.engine.take_failures) == {}


def test_close_of_the_last_endpoint_ends_sessions_that_connect_to_it(scene: Scene) -> None:
    addresses = [("127.0.0.1", scene.enter(blackhole()).port)]
    bench = scene.bench(snapshot_of(addresses, connect_timeout_ms=60_000))
    client = scene.client(bench.address)
    eventually(lambda: bench.board.sessions_open_by_endpoint() == {0: 1}, within_s=5, reason="it connects")
    bench.call(bench.publish, snapshot_of(addresses, generation=2, eligible=[]))
    bench.call(bench.engine.close_some, 0, -1, "endpoint_down", 0)
    assert read_to_end(client) == (b"", RESET)
    assert scene.record(bench)["reason"] == "no_endpoint"
