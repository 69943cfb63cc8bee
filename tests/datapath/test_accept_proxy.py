"""A listener that expects a PROXY header: from those that must send one, and from nobody else."""

from __future__ import annotations

import dataclasses
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lb._ext.introduction import build
from lb.model.networks import Networks
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.ports import free_port
from tests.support.proxy_headers import (
    AUTHORITY,
    LOCAL,
    SIGNATURE,
    UNIX,
    addresses,
    theirs_v2,
    tlv,
    v2,
)
from tests.support.scale import Scale
from tests.support.scripted import unix_server
from tests.support.scripted_endpoint import FIN, RESET, ScriptedEndpoint, read_exactly, read_to_end, reset
from tests.support.snapshots import changed, networks
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

CLIENT, WEB = ("192.0.2.1", 56324), ("198.51.100.7", 443)
CLIENT6, WEB6 = ("2001:db8::1", 4000), ("2001:db8::2", 443)
HEADERS = {
    "v1": build(1, CLIENT, WEB),
    "v1 over IPv6": build(1, CLIENT6, WEB6),
    "v2": build(2, CLIENT, WEB),
    "v2 over IPv6": build(2, CLIENT6, WEB6),
    "v2 with TLVs": theirs_v2(CLIENT, WEB, {AUTHORITY: b"a.example", 0xEA: b"vendor"}),
}
OF_THE_SOCKET = {
    "UNKNOWN": b"PROXY UNKNOWN\r\n",
    "UNKNOWN and more": b"PROXY UNKNOWN ::1 ::1 1 2\r\n",
    "LOCAL": v2(command=LOCAL, family=0),
    "LOCAL with addresses": v2(addresses(CLIENT, WEB), command=LOCAL),
    "UNSPEC": v2(family=0),
    "UNSPEC with a body": v2(b"whatever", family=0),
}
TRUSTED = Networks.parse(["127.0.0.0/8"])
NOBODY = Networks.parse(["192.0.2.0/24"])


def relay(
    scene: Scene,
    *endpoints: ScriptedEndpoint,
    accept_proxy: Networks = TRUSTED,
    listener: dict[str, Any] | None = None,
    **options: Any,
) -> EngineBench:
    made = snapshot_of([one.address for one in endpoints], **options)
    return scene.bench(changed(made, listener={"accept_proxy": accept_proxy} | (listener or {})))


def text(address: tuple[str, int]) -> str:
    return "[{}]:{}".format(*address) if ":" in address[0] else "{}:{}".format(*address)


def closed(bench: EngineBench) -> dict[str, int]:
    return {reason: count for reason, count in bench.board.listener(0).closed.items() if count}


# ---- Clients that must not send one -----------------------------------------------------------------


def test_client_that_resets_before_it_said_anything_has_reset(scene: Scene) -> None:
    """It is looked at for a header that it must not send: the look must not swallow the reset."""
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=NOBODY, half_close_ms=0)
    client, server = scene.session(bench, endpoint)
    reset(client)
    assert read_to_end(server) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("client_reset", "client")


# ---- Headers that are right -------------------------------------------------------------------------


@pytest.mark.parametrize("which", HEADERS)
def test_client_is_the_one_that_the_header_names(scene: Scene, which: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(HEADERS[which] + b"question")
    server = scene.enter(endpoint.accept())
    assert read_exactly(server, 8) == b"question"
    server.sendall(b"the answer")
    server.close()
    assert read_to_end(client) == (b"the answer", FIN)
    peer = client.getsockname()
    client.close()
    record = scene.record(bench)
    assert record["client"] == text(CLIENT6 if "IPv6" in which else CLIENT)
    assert (record["peer"], record["local"]) == (text(peer), text(bench.address))
    assert (record["bytes_in"], record["bytes_out"]) == (8, 10), "the header does not count"
    assert record["sni"] == ("a.example" if "TLVs" in which else None)
    assert (record["reason"], record["closed_by"]) == ("done", "endpoint")


@pytest.mark.parametrize("which", OF_THE_SOCKET)
def test_header_that_names_nobody_leaves_the_sockets_address(scene: Scene, which: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(OF_THE_SOCKET[which] + b"question")
    server = scene.enter(endpoint.accept())
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (b"question", FIN)
    name = client.getsockname()
    server.close()
    client.close()
    record = scene.record(bench)
    assert (record["client"], record["peer"]) == (text(name), None)


def test_client_on_a_unix_socket_has_no_address(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(v2(b"/run/c".ljust(108, b"\0") + bytes(108), family=UNIX))
    scene.enter(endpoint.accept()).close()
    name = client.getsockname()
    client.close()
    record = scene.record(bench)
    assert (record["client"], record["peer"]) == ("unix:", text(name))


def test_client_that_is_written_as_mapped_is_an_ipv4_one(scene: Scene) -> None:
    """Else a list that denies an IPv4 network could be passed by another spelling."""
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(build(2, ("::ffff:192.0.2.1", 56324), WEB6))
    scene.enter(endpoint.accept()).close()
    client.close()
    assert scene.record(bench)["client"] == text(CLIENT)


@pytest.mark.parametrize("which", [*HEADERS, *OF_THE_SOCKET])
def test_header_in_single_bytes_is_read(scene: Scene, which: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for byte in (HEADERS | OF_THE_SOCKET)[which] + b"question":
        client.sendall(bytes([byte]))
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (b"question", FIN)
    server.close()
    assert scene.record(bench)["bytes_in"] == 8


def test_header_is_read_byte_by_byte_with_a_turn_after_each(scene: Scene) -> None:
    """No byte finds the engine asleep: each gives an edge, though nothing was consumed."""
    endpoint = scene.endpoint()
    made = changed(snapshot_of([endpoint.address]), listener={"accept_proxy": TRUSTED})
    bench = scene.bench(made, started=False)
    client = scene.client(bench.address)
    header = HEADERS["v2"]
    for byte in header[:-1]:
        client.sendall(bytes([byte]))
        bench.engine.step()
        assert bench.board.endpoint(0).sessions_total == 0
    client.sendall(header[-1:])
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == 1)
    client.sendall(b"question")
    server = scene.enter(endpoint.accept())
    bench.engine.step()
    assert read_exactly(server, 8) == b"question"
    client.close()
    server.close()


@pytest.mark.parametrize("size", [1, 5000, 100_000])
def test_payload_behind_the_header_is_whole(scene: Scene, size: int) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    payload = bytes(i % 251 for i in range(size))
    client.sendall(theirs_v2(CLIENT6, WEB6, {4: bytes(3000)}) + payload)
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (payload, FIN)
    server.close()
    assert scene.record(bench)["bytes_in"] == size


def test_largest_header_is_read(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(v2(addresses(CLIENT, WEB) + tlv(4, bytes(4096 - 12 - 3))) + b"question")
    assert read_exactly(scene.enter(endpoint.accept()), 8) == b"question"


def test_second_header_is_the_clients_own_business(scene: Scene) -> None:
    """Only the first is the proxy's; what follows it is a stream of bytes."""
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(HEADERS["v1"] + HEADERS["v2"])
    server = scene.enter(endpoint.accept())
    assert read_exactly(server, len(HEADERS["v2"])) == HEADERS["v2"]


# ---- Headers that are wrong -------------------------------------------------------------------------


BAD = {
    "no header": b"GET / HTTP/1.1\r\n\r\n",
    "no header, one byte": b"\x16",
    "damaged line": b"PROXY TCP4 192.0.2.1 198.51.100.7 56324\r\n",
    "line without end": b"PROXY TCP4 ".ljust(107, b"1"),
    "version 3": SIGNATURE + b"\x31\x11\0\x0c" + addresses(CLIENT, WEB),
    "datagram": v2(addresses(CLIENT, WEB), family=0x12),
    "body of 4097 bytes": v2(addresses(CLIENT, WEB), size=4097),
    "TLV that is cut": v2(addresses(CLIENT, WEB) + b"\x04\0\x09"),
    "wrong checksum": v2(addresses(CLIENT, WEB) + tlv(3, b"1234")),
}


@pytest.mark.parametrize("which", BAD)
def test_header_that_is_wrong_is_refused_before_an_endpoint_knows(scene: Scene, which: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(BAD[which])
    assert read_to_end(client) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("bad_proxy_header", "lb", [])
    assert (record["client"], record["peer"]) == (text(client.getsockname()), None)
    assert closed(bench) == {"bad_proxy_header": 1}
    assert bench.board.listener(0).refused["bad_proxy_header"] == 1


@pytest.mark.parametrize("which", ["v1", "v2"])
@pytest.mark.parametrize("end", [FIN, RESET])
def test_client_that_leaves_within_the_header_is_recorded(scene: Scene, which: str, end: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(HEADERS[which][:-1])
    if end == FIN:
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == (b"", RESET)
        assert scene.record(bench)["reason"] == "bad_proxy_header"
    else:
        eventually(lambda: bench.engine.sessions_open, within_s=5, reason="it was accepted")
        reset(client)
        assert scene.record(bench)["reason"] == "client_reset"


def test_connection_without_a_byte_is_a_health_check(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    scene.client(bench.address).close()
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("done", "client", [])


# ---- Deadlines --------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", b"P", HEADERS["v1"][:-1], HEADERS["v2"][:20]], ids=range(4))
def test_header_that_does_not_come_ends_the_session_at_the_routing_deadline(
    scene: Scene, said: bytes
) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, listener={"routing_ms": 100})
    client = scene.client(bench.address)
    client.sendall(said)
    assert read_to_end(client) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("routing_timeout", "lb", [])
    assert record["duration_ms"] >= 99


def test_header_that_trickles_in_does_not_move_the_deadline(scene: Scene) -> None:
    """The engine is turned by the test: it sees every byte in time, and ends at the deadline all the same."""
    endpoint = scene.endpoint()
    made = changed(snapshot_of([endpoint.address]), listener={"accept_proxy": TRUSTED, "routing_ms": 100})
    bench = scene.bench(made, started=False)
    client = scene.client(bench.address)
    bench.turn_until(lambda: bench.engine.sessions_open == 1)
    trickle = iter(HEADERS["v1 over IPv6"][:-1] * 1000)
    until_s = time.monotonic() + 10
    turns = 0
    while bench.engine.sessions_open and time.monotonic() < until_s:
        if turns % 8 == 0 and turns < 8 * (len(HEADERS["v1 over IPv6"]) - 1):
            client.sendall(bytes([next(trickle)]))
        bench.turn_until(lambda: True)
        bench.engine.step()
        turns += 1
    record = scene.record(bench)
    assert record["reason"] == "routing_timeout"
    assert 99 <= record["duration_ms"] < 1000


# ---- Clients that must not send one -----------------------------------------------------------------


def test_untrusted_client_is_served_without_waiting_for_its_bytes(scene: Scene) -> None:
    scale = Scale.wanted()
    endpoint = scene.endpoint()
    routing_ms, silence_s = (5000, 6.0) if scale.full else (100, 0.3)
    bench = relay(scene, endpoint, accept_proxy=NOBODY, listener={"routing_ms": routing_ms})
    client = scene.client(bench.address)
    server = scene.enter(endpoint.accept())
    throughout(lambda: bench.engine.sessions_open == 1, for_s=silence_s, reason="nobody has to speak")
    server.sendall(b"220 who speaks first\r\n")
    assert read_exactly(client, 22) == b"220 who speaks first\r\n"
    client.sendall(b"HELO\r\n")
    assert read_exactly(server, 6) == b"HELO\r\n"
    client.close()
    server.close()
    record = scene.record(bench)
    assert (record["reason"], record["bytes_in"], record["bytes_out"]) == ("done", 6, 22)


@pytest.mark.parametrize("which", [*HEADERS, *OF_THE_SOCKET])
def test_untrusted_client_that_sends_a_header_is_refused(scene: Scene, which: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=NOBODY)
    client = scene.client(bench.address)
    client.sendall((HEADERS | OF_THE_SOCKET)[which] + b"question")
    assert read_to_end(client) == (b"", RESET)
    record = scene.record(bench)
    last = scene.client(bench.address)
    last.sendall(b"and another")
    last.shutdown(socket.SHUT_WR)
    while (seen := read_to_end(scene.enter(endpoint.accept()))) != (b"and another", FIN):
        assert seen == (b"", RESET), "nothing of it was passed on"  # or it was reset before it was there
    assert (record["reason"], record["closed_by"], record["bytes_in"]) == ("bad_proxy_header", "lb", 0)
    assert (record["client"], record["peer"]) == (text(client.getsockname()), None)


@pytest.mark.parametrize("which", ["v1", "v2"])
def test_untrusted_client_cannot_hide_a_header_in_single_bytes(scene: Scene, which: str) -> None:
    """What may still become one is passed on as it comes, but never the end of a signature."""
    signature = 6 if which == "v1" else 12
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=NOBODY)
    client = scene.client(bench.address)
    server = scene.enter(endpoint.accept())
    for at in range(signature - 1):
        client.sendall(HEADERS[which][at : at + 1])
        assert read_exactly(server, 1) == HEADERS[which][at : at + 1]
    client.sendall(HEADERS[which][signature - 1 :])
    assert read_to_end(client) == (b"", RESET)
    assert read_to_end(server) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], record["bytes_in"]) == ("bad_proxy_header", signature - 1)


@pytest.mark.parametrize(
    "said",
    [[b"P", b"OST / HTTP/1.1"], [b"\r\n", b"\r\n", b"\0\r\nQUIX"], [b"PROX", b"Y\r\n"], [b"PROPFIND / "]],
)
def test_untrusted_client_that_only_begins_like_a_header_is_served(scene: Scene, said: list[bytes]) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=NOBODY)
    client = scene.client(bench.address)
    server = scene.enter(endpoint.accept())
    for part in said:
        client.sendall(part)
        assert read_exactly(server, len(part)) == part, "nobody waits for what may follow"
    client.sendall(HEADERS["v2"])  # later it is a stream of bytes like any other
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (HEADERS["v2"], FIN)
    server.close()
    record = scene.record(bench)
    assert (record["reason"], record["bytes_in"]) == ("done", sum(map(len, said)) + len(HEADERS["v2"]))


@pytest.mark.parametrize("said", [b"", b"PROX", b"\r\n\r\n"])
def test_untrusted_client_that_ends_like_a_header_began_is_passed_on(scene: Scene, said: bytes) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=NOBODY)
    client = scene.client(bench.address)
    client.sendall(said)
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (said, FIN)
    server.close()
    assert scene.record(bench)["reason"] == "done"


# ---- Records and counts -----------------------------------------------------------------------------------


def test_record_with_the_longest_of_everything_is_whole(scene: Scene) -> None:
    made = snapshot_of([("127.0.0.1", free_port()) for _ in range(8)], attempts_max=8)
    endpoints = [
        line and dataclasses.replace(line, name="e" * 127 + str(number), pool="p" * 128)
        for number, line in enumerate(made.endpoints)
    ]
    made = dataclasses.replace(made, endpoints=tuple(endpoints))
    made = changed(made, listener={"name": "l" * 128, "accept_proxy": TRUSTED}, pool={"name": "p" * 128})
    bench = scene.bench(made)
    client = scene.client(bench.address)
    host = "2001:db11:2222:3333:4444:5555:6666:7777"
    client.sendall(theirs_v2((host, 65535), (host, 65535), {AUTHORITY: b"n" * 255}))
    assert read_to_end(client) == (b"", RESET)
    record = scene.record(bench)
    assert (record["client"], record["sni"]) == (f"[{host}]:65535", "n" * 255)
    assert len(record["attempts"]) == 8 and record["reason"] == "connect_failed"


def test_trust_is_judged_by_the_socket_and_admission_by_the_header(scene: Scene) -> None:
    endpoint = scene.endpoint()
    denied = Networks.parse(["192.0.2.0/24"])
    bench = relay(scene, endpoint, listener={"deny": denied})
    refused = scene.client(bench.address)
    refused.sendall(HEADERS["v1"])
    assert read_to_end(refused)[0] == b""
    record = scene.record(bench)
    assert (record["reason"], record["client"]) == ("refused_acl", text(CLIENT))
    client = scene.client(bench.address)
    client.sendall(HEADERS["v1 over IPv6"] + b"question")
    assert read_exactly(scene.enter(endpoint.accept()), 8) == b"question"


def test_limits_of_a_source_are_of_the_client_that_the_header_names(scene: Scene, tmp_path: Path) -> None:
    """Also by way of a proxy on a unix socket, which is no source itself."""
    endpoint = scene.endpoint()
    made = changed(
        snapshot_of([endpoint.address]),
        listener={"accept_proxy": networks("unix:"), "sessions_max_per_source": 1},
    )
    bench = scene.bench(made, started=False)
    path = str(tmp_path / "web.sock")
    listening = unix_server(path)
    listening.setblocking(False)
    bench.engine.listen(8, 0, listening.detach())
    bench.start()

    def client(host: str) -> socket.socket:
        made = scene.enter(socket.socket(socket.AF_UNIX))
        made.settimeout(10)
        made.connect(path)
        made.sendall(build(2, (host, 5), WEB) + b"question")
        return made

    first = client("192.0.2.1")
    assert read_exactly(scene.enter(endpoint.accept()), 8) == b"question"
    assert read_to_end(client("192.0.2.1"))[0] == b""
    record = scene.record(bench)
    assert (record["reason"], record["client"], record["peer"]) == ("refused_limit", "192.0.2.1:5", "unix:")
    other = client("192.0.2.2")
    assert read_exactly(scene.enter(endpoint.accept()), 8) == b"question"
    first.close()
    other.close()


def test_sessions_at_once_keep_their_own_addresses(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = relay(scene, endpoint)
    clients = [scene.client(bench.address) for _ in range(50)]
    for number, client in enumerate(clients):
        client.sendall(build(1 + number % 2, (f"192.0.2.{number}", 1000 + number), WEB)[:20])
    for number, client in enumerate(clients):
        client.sendall(build(1 + number % 2, (f"192.0.2.{number}", 1000 + number), WEB)[20:] + b"ping")
    for client in clients:
        assert read_exactly(client, 4) == b"ping"
    names = [text(client.getsockname()) for client in clients]
    for client in clients:
        client.close()
    found = {record["peer"]: record["client"] for record in scene.records(bench, 50)}
    assert found == {name: f"192.0.2.{number}:{1000 + number}" for number, name in enumerate(names)}
