"""Connecting from given hosts: each in turn, those that cannot be used passed over, nobody blamed."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from lb.model.pool import Policy
from tests.support.connecting import needs_ipv6
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.netns import run_in_netns
from tests.support.scripted_endpoint import ScriptedEndpoint, ScriptedUnixEndpoint

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Scene

ABSENT = "192.0.2.7"  # TEST-NET-1: no machine has it


def sources_seen(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint, count: int) -> Counter[str]:
    """From where the endpoint saw the next sessions come."""
    seen = Counter[str]()
    for _ in range(count):
        client, server = scene.session(bench, endpoint)
        seen[server.getpeername()[0]] += 1
        client.close()
        server.close()
    return seen


def test_sources_take_turns(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, sources=["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    assert sources_seen(scene, bench, endpoint, 30) == dict.fromkeys(
        ["127.0.0.2", "127.0.0.3", "127.0.0.4"], 10
    )
    record = scene.records(bench, 30)[0]
    assert record["upstream"].startswith("127.0.0.2:")


@needs_ipv6
def test_sources_of_the_other_family_are_for_the_other_endpoints(scene: Scene) -> None:
    """They take turns among their own; where there is none of a family, the kernel chooses."""
    endpoint, of_ipv6 = scene.endpoint(), scene.endpoint("::1")
    bench = scene.relay(endpoint, sources=["127.0.0.2", "::1", "127.0.0.3"])
    assert sources_seen(scene, bench, endpoint, 10) == {"127.0.0.2": 5, "127.0.0.3": 5}
    assert sources_seen(scene, scene.relay(of_ipv6, sources=["127.0.0.2"]), of_ipv6, 2) == {"::1": 2}


def test_sources_that_this_machine_has_not_are_passed_over(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, sources=["127.0.0.2", ABSENT])
    assert sources_seen(scene, bench, endpoint, 10) == {"127.0.0.2": 10}
    assert not any(bench.board.endpoint(0).connect_failures.values())


def test_sources_that_are_all_absent_are_never_charged_to_the_endpoint(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, sources=[ABSENT, "192.0.2.8"])
    assert scene.is_reset(bench.address)
    record = scene.record(bench)
    assert ([one["result"] for one in record["attempts"]], record["reason"]) == (["local"], "lb_error")
    assert bench.board.endpoint(0).connect_failures == {
        "refused": 0, "timeout": 0, "unreachable": 0, "reset": 0, "local": 1,
        "early_reset": 0, "silent": 0,
    }  # fmt: skip
    assert bench.call(bench.engine.take_failures) == {}


def test_sources_mean_nothing_to_a_unix_endpoint(scene: Scene, tmp_path: Path) -> None:
    endpoint = ScriptedUnixEndpoint(str(tmp_path / "app.sock"))
    scene.sockets.callback(endpoint.close)
    bench = scene.bench(snapshot_of([endpoint.path], sources=["127.0.0.2"]))
    scene.session(bench, endpoint)


def test_sources_of_an_endpoint_that_refuses_do_not_hide_it(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, sources=["127.0.0.2", "127.0.0.3"], policy=Policy.LEAST_CONNECTIONS)
    endpoint.close()
    assert scene.is_reset(bench.address)
    assert [one["result"] for one in scene.record(bench)["attempts"]] == ["refused"]


PORTS = """
import socket
from pathlib import Path
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint
endpoints = [ScriptedEndpoint(), ScriptedEndpoint()]
bench = EngineBench(snapshot_of([endpoints[0].address], sources={sources}, routing_ms=200))
other = EngineBench(snapshot_of([endpoints[1].address], sources={sources}))
clients = [socket.socket() for _ in range({clients})]
for number, client in enumerate(clients):
    client.bind(("127.0.0.9", 20000 + number))
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("60000 60000")
{script}
for client in clients:
    client.close()
for one in (bench, other):
    one.turn_until(one.is_empty)
print("done")
"""


def test_sources_without_a_port_left_are_passed_over() -> None:
    """One port each, and a second endpoint may be reached by the same one."""
    script = """
seen = []
def session(bench, endpoint, client):
    client.connect(bench.address)
    total = bench.board.listener(0).sessions_total + 1
    bench.turn_until(lambda: bench.board.listener(0).sessions_total == total)
    server = endpoint.accept()
    seen.append(server.getpeername())
    return server
held = [session(bench, endpoints[0], clients[number]) for number in range(3)]
held += [session(other, endpoints[1], clients[3])]
assert sorted(seen[:3]) == [(f"127.0.0.{n}", 60000) for n in (2, 3, 4)], seen
assert seen[3] == ("127.0.0.2", 60000), seen
clients[4].connect(bench.address)
bench.turn_until(lambda: bench.board.listener(0).closed["lb_error"] == 1)
counts = bench.board.endpoint(0).connect_failures
assert counts["local"] >= 1 and sum(counts.values()) == counts["local"], counts
for server in held:
    server.close()
"""
    sources = ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
    assert run_in_netns(PORTS.format(sources=sources, clients=5, script=script)) == "done\n"
