"""An endpoint is told first who its client is: once, whole, and by the endpoint that then serves it."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lb._ext.introduction import build
from lb._ext.proxy import parse
from lb.model.networks import Networks
from lb.model.proxy import ProxyVersion
from tests.support.client_hello import client_hello
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.ports import free_port
from tests.support.process import find, needs
from tests.support.proxy_headers import AUTHORITY, UNIQUE_ID, theirs_v2
from tests.support.scripted_endpoint import (
    FIN,
    RESET,
    ScriptedEndpoint,
    read_exactly,
    read_to_end,
    reset,
)
from tests.support.snapshots import BY_NAME, changed
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

V1, V2 = ProxyVersion.V1, ProxyVersion.V2
NUMBER = {V1: 1, V2: 2}
TRUSTED = Networks.parse(["127.0.0.0/8"])
TCP_INFO_DATA_SEGS_IN = 152  # offset in struct tcp_info (linux/tcp.h): segments with data that came
versions = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])


def relay(
    scene: Scene,
    *endpoints: ScriptedEndpoint,
    version: ProxyVersion = V2,
    listener: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
    bench: dict[str, Any] | None = None,
    **options: Any,
) -> EngineBench:
    made = snapshot_of([one.address for one in endpoints], **options)
    made = changed(made, listener=listener, pool={"send_proxy": version} | (pool or {}))
    return scene.bench(made, **(bench or {}))


def header_of(version: ProxyVersion, client: socket.socket) -> bytes:
    """The header of a client who is connected to the bench."""
    return build(NUMBER[version], client.getsockname()[:2], client.getpeername()[:2])


# ---- What the endpoint sees -------------------------------------------------------------------------


@versions
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("upstream", ["127.0.0.1", "::1"])
def test_endpoint_sees_exactly_the_header_and_then_the_payload(
    scene: Scene, version: ProxyVersion, host: str, upstream: str
) -> None:
    endpoint = scene.endpoint(upstream)
    bench = relay(scene, endpoint, version=version, bench={"host": host})
    client = scene.client(bench.address)
    payload = bytes(i % 251 for i in range(100_000))
    client.sendall(payload)
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (header_of(version, client) + payload, FIN)
    server.sendall(b"the answer")
    server.close()
    assert read_to_end(client) == (b"the answer", FIN)
    record = scene.record(bench)
    assert (record["bytes_in"], record["bytes_out"]) == (len(payload), 10), "the header does not count"
    counted = bench.board.endpoint(0)
    assert (counted.bytes_in, counted.bytes_out) == (len(payload), 10)


@versions
def test_endpoint_that_speaks_first_has_its_header_at_once(scene: Scene, version: ProxyVersion) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, version=version)
    client, server = scene.session(bench, endpoint)
    header = header_of(version, client)
    assert read_exactly(server, len(header)) == header
    server.sendall(b"220 ready")
    assert read_exactly(client, 9) == b"220 ready"
    client.close()
    assert read_to_end(server) == (b"", FIN)


@versions
def test_header_and_the_bytes_that_wait_leave_in_one_packet(scene: Scene, version: ProxyVersion) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, version=version, bench={"started": False})
    client = scene.client(bench.address)
    client.sendall(b"question")  # lies there when the session is accepted, for no step was made yet
    bench.turn_until(lambda: bench.board.endpoint(0).bytes_in == 8)
    server = scene.enter(endpoint.accept())
    assert read_exactly(server, len(header_of(version, client)) + 8).endswith(b"question")
    info = server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    if len(info) < TCP_INFO_DATA_SEGS_IN + 4:
        pytest.skip("this kernel does not count segments with data (before Linux 4.6)")
    assert int.from_bytes(info[TCP_INFO_DATA_SEGS_IN : TCP_INFO_DATA_SEGS_IN + 4], sys.byteorder) == 1


@versions
def test_client_on_a_unix_socket_is_introduced_as_unknown(
    scene: Scene, version: ProxyVersion, tmp_path: Path
) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, version=version, bench={"started": False})
    path = str(tmp_path / "web.sock")
    listening = scene.enter(socket.socket(socket.AF_UNIX))
    listening.bind(path)
    listening.listen()
    listening.setblocking(False)
    bench.engine.listen(8, 0, listening.detach())
    bench.start()
    client = scene.enter(socket.socket(socket.AF_UNIX))
    client.connect(path)
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (build(NUMBER[version], None, None) + b"question", FIN)


# ---- What is known of the client --------------------------------------------------------------------


@versions
def test_client_of_an_accepted_header_is_introduced_with_its_destination(
    scene: Scene, version: ProxyVersion
) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, version=version, listener={"accept_proxy": TRUSTED})
    client = scene.client(bench.address)
    pair = ("2001:db8::1", 4000), ("2001:db8::2", 443)
    client.sendall(build(1, *pair) + b"question")
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (build(NUMBER[version], *pair) + b"question", FIN)


def test_name_protocol_and_id_of_an_accepted_header_are_handed_on(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, listener={"accept_proxy": TRUSTED})
    client = scene.client(bench.address)
    pair = ("192.0.2.1", 56324), ("198.51.100.7", 443)
    tlvs = {AUTHORITY: b"API.example.com", 1: b"h2", UNIQUE_ID: bytes(range(128)), 0xEA: b"a vendor's"}
    client.sendall(theirs_v2(*pair, tlvs))
    server = scene.enter(endpoint.accept())
    header = build(2, *pair, name=b"api.example.com", protocol=b"h2", unique_id=bytes(range(128)))
    assert read_exactly(server, len(header)) == header
    held = bench.call(bench.engine.held)
    assert (held["blocks"], held["details"]) == (0, 1), "what was to be told is given back, addresses are not"
    client.sendall(b"question")
    assert read_exactly(server, 8) == b"question"
    client.close()
    server.close()
    assert scene.record(bench)["sni"] == "api.example.com"


def test_name_that_could_break_a_record_is_not_handed_on(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, listener={"accept_proxy": TRUSTED})
    client = scene.client(bench.address)
    pair = ("192.0.2.1", 56324), ("198.51.100.7", 443)
    client.sendall(theirs_v2(*pair, {AUTHORITY: b'a","reason":"done', 1: b'"' * 255}))
    server = scene.enter(endpoint.accept())
    header = build(2, *pair, protocol=b'"' * 255)
    assert read_exactly(server, len(header)) == header
    client.close()
    server.close()
    assert scene.record(bench)["sni"] is None


@pytest.mark.parametrize("protocols", [[], ["h2"], ["h2", "http/1.1"]])
def test_name_and_sole_protocol_of_a_client_hello_are_told(scene: Scene, protocols: list[str]) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, pool={"hash": BY_NAME})
    client = scene.client(bench.address)
    hello = client_hello("api.example.com", protocols)
    client.sendall(hello)
    server = scene.enter(endpoint.accept())
    sole = protocols[0].encode() if len(protocols) == 1 else b""
    header = build(2, client.getsockname(), bench.address, name=b"api.example.com", protocol=sole)
    assert read_exactly(server, len(header) + len(hello)) == header + hello
    assert bench.call(bench.engine.held)["blocks"] == 0


def test_lb_behind_lb_tells_the_endpoint_of_the_first_client(scene: Scene) -> None:
    """Three in a row: v2, v1, v2 again. Version 1 has no room for the name."""
    endpoint = scene.endpoint()
    last = relay(scene, endpoint, listener={"accept_proxy": TRUSTED}, version=V2)
    made = snapshot_of([last.address])
    middle = scene.bench(
        changed(made, listener={"accept_proxy": TRUSTED}, pool={"send_proxy": V1}),
    )
    first = scene.bench(changed(snapshot_of([middle.address]), pool={"send_proxy": V2, "hash": BY_NAME}))
    client = scene.client(first.address)
    hello = client_hello("api.example.com")
    client.sendall(hello)
    server = scene.enter(endpoint.accept())
    header = build(2, client.getsockname(), first.address)
    assert read_exactly(server, len(header) + len(hello)) == header + hello
    name = "{}:{}".format(*client.getsockname())
    client.close()
    server.close()
    records = [scene.record(bench) for bench in (first, middle, last)]
    assert [record["client"] for record in records] == [name] * 3
    assert [record["peer"] for record in records] == [None, records[0]["upstream"], records[1]["upstream"]]
    assert [record["sni"] for record in records] == ["api.example.com", "api.example.com", None]
    assert [record["bytes_in"] for record in records] == [len(hello)] * 3


# ---- When an attempt fails --------------------------------------------------------------------------


@versions
def test_header_is_sent_again_to_the_endpoint_that_takes_the_session(
    scene: Scene, version: ProxyVersion
) -> None:
    endpoint = scene.endpoint()
    addresses = [("127.0.0.1", free_port()), ("127.0.0.1", free_port()), endpoint.address]
    made = changed(
        snapshot_of(addresses, schedule=[0, 1, 2]),
        listener={"accept_proxy": TRUSTED},
        pool={"send_proxy": version},
    )
    bench = scene.bench(made)
    pair = ("192.0.2.1", 56324), ("198.51.100.7", 443)
    tlvs: dict[str, bytes] = {"unique_id": b"seven"} if version is V2 else {}
    for _ in range(6):
        client = scene.client(bench.address)
        client.sendall(build(2, *pair, unique_id=b"seven") + b"question")
        client.shutdown(socket.SHUT_WR)
        server = scene.enter(endpoint.accept())
        assert read_to_end(server) == (build(NUMBER[version], *pair, **tlvs) + b"question", FIN)
        server.close()
    records = scene.records(bench, 6)
    assert any(len(record["attempts"]) > 1 for record in records)
    assert all(record["attempts"][-1]["result"] == "connected" for record in records)


REFUSED = """
import os, socket, sys
from lb.model.networks import Networks
from lb.model.proxy import ProxyVersion
from lb._ext.introduction import build
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedEndpoint
from tests.support.snapshots import changed
endpoints = [ScriptedEndpoint(), ScriptedEndpoint()]
made = snapshot_of([one.address for one in endpoints])
bench = EngineBench(changed(made, pool={"send_proxy": ProxyVersion.V2}))
client = socket.create_connection(bench.address, timeout=10)
header = build(2, client.getsockname(), bench.address)
os.write(client.fileno(), b"question")  # not send(), which is what fails
bench.turn_until(lambda: bench.board.endpoint(1).bytes_in == 8)
first, second = (one.accept() for one in endpoints)
ended = first.recv(100)
assert ended == b"", ended
assert second.recv(200) == header + b"question"
charged = {} if sys.argv[1] == "local" else {0: {sys.argv[1]: 1, "in_row": 1}}
assert bench.engine.take_failures() == charged
failed = bench.board.endpoint(0).connect_failures[sys.argv[1]]
assert failed == 1 and bench.board.endpoint(0).sessions_total == 0, failed
client.close()
second.close()
bench.turn_until(bench.is_empty)
line = bench.lines()[0].decode()
assert f'"result":"{sys.argv[1]}"' in line and '"bytes_in":8' in line, line
print("done")
"""


@pytest.mark.parametrize(
    ("fault", "result"), [("error=ECONNRESET", "reset"), ("error=ENOBUFS", "local"), ("retval=7", "local")]
)
def test_header_that_cannot_be_sent_is_a_failed_attempt(fault: str, result: str, tmp_path: Path) -> None:
    """strace makes the kernel refuse the first send(), or seem to take seven bytes; the second goes well."""
    needs("strace")
    words = [find("strace") or "strace", "-f", "-o", str(tmp_path / "trace"), "-e", "trace=sendto"]
    words += ["-e", f"inject=sendto:{fault}:when=1", sys.executable, "-c", REFUSED, result]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    if "ptrace" in done.stderr:
        pytest.skip(f"nothing can be traced here: {done.stderr.strip()}")
    assert done.stdout == "done\n", done.stdout + done.stderr


@versions
def test_endpoint_that_resets_once_it_has_read_the_header_ends_the_session(
    scene: Scene, version: ProxyVersion
) -> None:
    """It has accepted the session: no other endpoint may get it."""
    endpoint, other = scene.endpoint(), scene.endpoint()
    bench = relay(scene, endpoint, other, version=version, schedule=[0])
    client, server = scene.session(bench, endpoint)
    read_exactly(server, len(header_of(version, client)))
    eventually(lambda: bench.board.endpoint(0).sessions_total == 1, within_s=5, reason="it is connected")
    reset(server)
    assert read_to_end(client) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], len(record["attempts"])) == ("endpoint_reset", 1)


def test_snapshot_that_changes_the_header_holds_for_new_sessions(scene: Scene) -> None:
    endpoint = scene.endpoint()
    made = snapshot_of([endpoint.address])
    bench = scene.bench(made)
    old, old_server = scene.session(bench, endpoint)
    eventually(lambda: bench.board.endpoint(0).sessions_total == 1, within_s=5, reason="it is connected")
    bench.call(bench.publish, changed(made, pool={"send_proxy": V1}))
    old.sendall(b"as before")
    assert read_exactly(old_server, 9) == b"as before"
    client, server = scene.session(bench, endpoint)
    header = header_of(V1, client)
    assert read_exactly(server, len(header)) == header


def test_many_sessions_are_each_introduced_with_their_own_address(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    clients = {}
    for _ in range(60):
        client = scene.client(bench.address)
        clients[client.getsockname()] = client
    for _ in range(60):
        server = scene.enter(endpoint.accept())
        told = parse(read_exactly(server, 28))
        assert told is not None and told["client"] in clients and told["destination"] == bench.address
        client = clients.pop(told["client"])
        client.sendall(b"mine")
        assert read_exactly(server, 4) == b"mine"
        server.close()
        client.close()
    assert not clients
