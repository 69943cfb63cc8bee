"""Which orders of ending keep a port of lb's towards the endpoint, and that sparing one loses no byte."""

from __future__ import annotations

import pytest

from tests.support.netns import run_in_netns

SESSIONS = 5
SCRIPT = """
import socket, subprocess, sys
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint, read_to_end
from tests.support.waiting import eventually

first, options, sessions = sys.argv[1], eval(sys.argv[2]), int(sys.argv[3])
endpoint = ScriptedEndpoint()
bench = EngineBench(snapshot_of([endpoint.address], connect_timeout_ms=50, **options)).start()
pairs = []
for _ in range(sessions):
    client = socket.create_connection(bench.address, timeout=10)
    server = endpoint.accept()
    client.sendall(bytes(50_000))
    server.sendall(bytes(50_000))
    pairs.append((client, server))
for client, server in pairs:  # the endpoint reads late: what was acknowledged must survive what comes after
    one, other = (client, server) if first == "client" else (server, client)
    if first in ("client", "endpoint"):
        one.shutdown(socket.SHUT_WR)
        data, _ = read_to_end(other)
        assert len(data) == 50_000
        if not options.get("half_close_ms"):
            other.close()
eventually(lambda: bench.engine.sessions_open == 0, within_s=10, reason="all have ended")
for client, server in pairs:
    for sock in (client, server):
        if sock.fileno() != -1 and not (first == "client" and sock is server):
            data, _ = read_to_end(sock)
            assert len(data) == (0 if first == "endpoint" and sock is client else 50_000), len(data)
        sock.close()
states = subprocess.run(
    ["ss", "-tanH", f"( dport = :{endpoint.address[1]} )"], capture_output=True, text=True, check=True
).stdout.split("\\n")
print(sum(bool(line) for line in states))
bench.close()
"""

ROWS = [
    ("client", {}, SESSIONS),
    ("endpoint", {}, 0),
    ("client", {"half_close_ms": 300}, 0),
    ("endpoint", {"half_close_ms": 300}, 0),
    ("nobody", {"idle_ms": 300}, 0),
    ("nobody", {"age_max_ms": 500}, 0),
]


@pytest.mark.parametrize(("first", "options", "kept"), ROWS)
def test_port_towards_the_endpoint_is_kept_only_when_the_client_ends_first(
    first: str, options: dict[str, int], kept: int
) -> None:
    """Of sockets that have the endpoint's port as their peer's: in TIME_WAIT, or in any other state."""
    assert run_in_netns(SCRIPT, first, repr(options), str(SESSIONS)) == f"{kept}\n"
