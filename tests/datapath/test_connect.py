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
from tests.support.scripted_endpoint import FIN, ScriptedEndpoint, read_exactly, read_to_end
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

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
    assert failures == {i: {"refused": seen[i]} for i in (0, 1) if seen[i]}
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
assert bench.engine.take_failures() == {0: {"unreachable": 1}}
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


# ---- Failures of ours ----


OWN = """
import resource, socket, sys, time
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint, read_to_end
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address, ("127.0.0.1", endpoint.address[1])]))
client = socket.socket()
client.settimeout(10)
{before}
client.connect(bench.address)
bench.turn_until(lambda: bench.board.listener(0).closed["lb_error"] == 1)
assert read_to_end(client) == (b"", "reset")
counts = [bench.board.endpoint(number).connect_failures for number in (0, 1)]
assert [one.pop("local") for one in counts] == [1, 1], counts
assert not any(one[reason] for one in counts for reason in one), counts
assert bench.engine.take_failures() == {{}}
line = bench.lines()[0].decode()
assert '"result":"local"' in line and '"reason":"lb_error"' in line, line
client.close()
{after}
client = socket.create_connection(bench.address, timeout=10)
bench.turn_until(lambda: bench.board.endpoint(0).sessions_total + bench.board.endpoint(1).sessions_total == 1)
client.close()
endpoint.accept().close()
bench.turn_until(bench.is_empty)
print("done")
"""


def test_connect_without_a_descriptor_is_never_charged_to_the_endpoint() -> None:
    """One descriptor is left: enough to accept with, and none to connect with."""
    script = OWN.format(
        before="""
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
lowest = socket.socket()
number = lowest.fileno()
lowest.close()
resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, hard))""",
        after="resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))",
    )
    assert run_in_netns(script) == "done\n"


def test_connect_without_a_port_is_never_charged_to_the_endpoint() -> None:
    script = OWN.format(
        before="""
from pathlib import Path
ports = Path("/proc/sys/net/ipv4/ip_local_port_range")
client.bind(("127.0.0.1", 0))
bench.address  # bound before the range shrinks to one port, which is taken
ports.write_text("60000 60000")
held = socket.create_connection(endpoint.address)
""",
        after='ports.write_text("32768 60999")\nheld.close()\nendpoint.accept().close()',
    )
    assert run_in_netns(script) == "done\n"


def test_accept_without_a_descriptor_waits_and_is_served_later() -> None:
    """The backlog waits, the engine does not spin, and the client never knows."""
    script = """
import resource, select, socket, time
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint, read_exactly
endpoint = ScriptedEndpoint().echo()
bench = EngineBench(snapshot_of([endpoint.address]))
client = socket.create_connection(bench.address, timeout=10)
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
lowest = socket.socket()
number = lowest.fileno()
lowest.close()
resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
poll = select.poll()
poll.register(bench.engine.fileno(), select.POLLIN)
until = time.monotonic() + 0.5
turns = 0
while time.monotonic() < until:
    if poll.poll(100):
        bench.engine.step()
        turns += 1
assert turns < 30, f"{turns} turns in half a second"
assert bench.engine.sessions_open == 0 and bench.board.worker(0).accept_paused_total >= 1
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
client.sendall(b"patience")
bench.start()
assert read_exactly(client, 8) == b"patience"
client.close()
from tests.support.waiting import eventually
eventually(bench.is_empty, within_s=5, reason="all is given back")
print("done")
"""
    assert run_in_netns(script) == "done\n"
