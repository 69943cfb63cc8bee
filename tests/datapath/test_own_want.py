"""Want of a descriptor or a port of lb's own: no endpoint is blamed, nobody spins, and what waited is served.

Each script runs in a process and a network namespace of its own, whose limits it narrows.
"""

from __future__ import annotations

import pytest

from tests.support.netns import run_in_netns

COMMON = """
import json, resource, select, socket, time
from pathlib import Path
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint, read_exactly, read_to_end
from tests.support.waiting import eventually

HARD = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")

def leave_descriptors(count):
    lowest = socket.socket()
    number = lowest.fileno()
    lowest.close()
    resource.setrlimit(resource.RLIMIT_NOFILE, (number + count, HARD))

def give_descriptors():
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, HARD))

def failures(bench, endpoints):
    "Charged to endpoints; and how many were ours."
    counts = [dict(bench.board.endpoint(number).connect_failures) for number in range(endpoints)]
    local = sum(one.pop("local") for one in counts)
    return sum(sum(one.values()) for one in counts), local

def client_of(bench):
    return socket.create_connection(bench.address, timeout=10)

def steps_during(bench, seconds):
    poll = select.poll()
    poll.register(bench.engine.fileno(), select.POLLIN)
    before, until = bench.board.worker(0).steps_total, time.monotonic() + seconds
    while time.monotonic() < until:
        if poll.poll(50):
            bench.engine.step()
    return bench.board.worker(0).steps_total - before

def end(bench):
    bench.turn_until(bench.is_empty)
    assert not any(bench.engine.held().values()), bench.engine.held()
    print("done")
"""


def run(script: str) -> str:
    return run_in_netns(COMMON + script)


def test_session_without_a_descriptor_to_connect_with_waits_and_is_served() -> None:
    """One descriptor is left: enough to accept with, and none to connect with."""
    script = """
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address, endpoint.address]))
client = client_of(bench)
client.sendall(b"patience")
leave_descriptors(1)
bench.turn_until(lambda: bench.engine.held()["starved"] == 1)
steps = steps_during(bench, 1.0)
assert 5 < steps < 80, f"{steps} steps in a second"
charged, local = failures(bench, 2)
assert charged == 0 and local >= 5, (charged, local)
assert bench.engine.take_failures() == {}
assert bench.board.worker(0).starved_total == 1
give_descriptors()
bench.turn_until(lambda: bench.engine.held()["starved"] == 0)
server = endpoint.accept()
bench.turn_until(lambda: bench.board.endpoint(0).bytes_in + bench.board.endpoint(1).bytes_in == 8)
assert read_exactly(server, 8) == b"patience"
client.close(), server.close()
bench.turn_until(bench.is_empty)
line = json.loads(bench.lines()[0])
assert [one["result"] for one in line["attempts"]] == ["connected"], line
end(bench)
"""
    assert run(script) == "done\n"


def test_session_that_starves_to_its_routing_deadline_ends_in_lb_error() -> None:
    script = """
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address, endpoint.address], routing_ms=400))
client = client_of(bench)
leave_descriptors(1)
bench.turn_until(lambda: bench.board.listener(0).closed["lb_error"] == 1)
give_descriptors()
assert read_to_end(client) == (b"", "reset")
line = json.loads(bench.lines()[0])
assert 399 <= line["duration_ms"] < 5000 and line["reason"] == "lb_error", line
assert [one["result"] for one in line["attempts"]] == ["local"], line
assert failures(bench, 2)[0] == 0
end(bench)
"""
    assert run(script) == "done\n"


def test_client_that_leaves_while_its_session_starves_ends_it() -> None:
    script = """
from tests.support.scripted_endpoint import reset
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address]))
client = client_of(bench)
leave_descriptors(1)
bench.turn_until(lambda: bench.engine.held()["starved"] == 1)
reset(client)
bench.turn_until(lambda: bench.board.listener(0).closed["client_reset"] == 1)
give_descriptors()
end(bench)
"""
    assert run(script) == "done\n"


def test_session_that_starves_while_its_last_endpoint_leaves_ends_once() -> None:
    script = """
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address]))
client = client_of(bench)
leave_descriptors(1)
bench.turn_until(lambda: bench.engine.held()["starved"] == 1)
give_descriptors()
bench.publish(snapshot_of([endpoint.address], generation=2, eligible=[]))
bench.turn_until(lambda: bench.board.listener(0).closed["no_endpoint"] == 1)
end(bench)
"""
    assert run(script) == "done\n"


def test_nobody_is_accepted_while_a_session_starves() -> None:
    """They wait in the backlog, and all are served in the end."""
    script = """
endpoint = ScriptedEndpoint().echo()
bench = EngineBench(snapshot_of([endpoint.address]))
clients = [client_of(bench) for _ in range(10)]
leave_descriptors(1)
bench.turn_until(lambda: bench.engine.held()["starved"] == 1)
steps_during(bench, 0.5)
assert bench.engine.sessions_open == 1, bench.engine.sessions_open
assert bench.board.worker(0).accept_paused_total >= 1
give_descriptors()
bench.start()
for number, client in enumerate(clients):
    client.sendall(b"%04d" % number)
    assert read_exactly(client, 4) == b"%04d" % number
    client.close()
bench.stop()
assert bench.board.worker(0).starved_total == 1, bench.board.worker(0).starved_total
end(bench)
"""
    assert run(script) == "done\n"


@pytest.mark.parametrize("retry_budget_percent", [0, 20])
def test_session_without_a_port_towards_one_endpoint_goes_to_another(retry_budget_percent: int) -> None:
    """A port is taken for a pair of addresses: towards another endpoint the same one is free."""
    script = f"""
endpoints = [ScriptedEndpoint(), ScriptedEndpoint()]
addresses = [one.address for one in endpoints]
bench = EngineBench(snapshot_of(addresses, retry_budget_percent={retry_budget_percent}))
clients = [client_of(bench) for _ in range(2)]
PORTS.write_text("60000 60000")
held = socket.create_connection(addresses[0])
bench.turn_until(lambda: bench.board.endpoint(1).sessions_total == 1)
PORTS.write_text("32768 60999")
bench.turn_until(lambda: sum(bench.board.endpoint(number).sessions_total for number in (0, 1)) == 2)
charged, local = failures(bench, 2)
assert charged == 0 and local >= 1, (charged, local)
assert bench.board.pool(0).retries_total == 0, "want of our own is no retry"
for client in clients:
    client.close()
endpoints[0].accept().close()
for one in endpoints:
    one.accept().close()
end(bench)
"""
    assert run(script) == "done\n"


def test_session_without_any_port_waits_and_is_served() -> None:
    script = """
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address, ("127.0.0.1", endpoint.address[1])]))
client = client_of(bench)
PORTS.write_text("60000 60000")
held = socket.create_connection(endpoint.address)
bench.turn_until(lambda: bench.engine.held()["starved"] == 1)
steps = steps_during(bench, 1.0)
assert 5 < steps < 80, f"{steps} steps in a second"
assert failures(bench, 2)[0] == 0 and bench.engine.take_failures() == {}
PORTS.write_text("32768 60999")
bench.turn_until(lambda: bench.engine.held()["starved"] == 0)
client.close(), held.close()
endpoint.accept().close(), endpoint.accept().close()
end(bench)
"""
    assert run(script) == "done\n"


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
