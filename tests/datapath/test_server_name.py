"""The name of the server that a client wants: peeked from its ClientHello, which the endpoint gets whole."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

import pytest

from lb._ext.introduction import build
from lb.model.networks import Networks
from tests.support.client_hello import client_hello, in_records, with_name
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.proxy_headers import AUTHORITY, theirs_v2
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

HELLO = client_hello("api.example.com", ["h2", "http/1.1"])
PAIR = ("192.0.2.1", 56324), ("198.51.100.7", 443)
TRUSTED, NOBODY = Networks.parse(["127.0.0.0/8"]), Networks.parse(["192.0.2.0/24"])
TOO_LONG = client_hello("api.example.com", [f"{number:0255d}" for number in range(70)])


def relay(scene: Scene, endpoint: ScriptedEndpoint, *, started: bool = True, **listener: Any) -> EngineBench:
    made = changed(snapshot_of([endpoint.address]), listener=listener, pool={"hash": BY_NAME})
    return scene.bench(made, started=started)


def said(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint, *parts: bytes) -> dict[str, Any]:
    """The record of a client that says this and half-closes; the endpoint has got all of it."""
    client = scene.client(bench.address)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for part in parts:
        client.sendall(part)
    client.shutdown(socket.SHUT_WR)
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (b"".join(parts), FIN)
    server.sendall(b"the answer")
    server.close()
    assert read_to_end(client) == (b"the answer", FIN)
    record = scene.record(bench)
    assert (record["reason"], record["bytes_in"]) == ("done", sum(map(len, parts)))
    return record


def test_client_that_is_denied_is_not_awaited(scene: Scene) -> None:
    """Who says nothing would otherwise take a place until the routing deadline."""
    bench = relay(scene, scene.endpoint(), deny=TRUSTED)
    assert scene.is_reset(bench.address)
    record = scene.record(bench)
    assert (record["reason"], record["sni"]) == ("refused_acl", None)


# ---- Clients with a name ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 3, 100, 10_000])
def test_hello_in_pieces_is_read_and_passed_on_whole(scene: Scene, size: int) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    parts = [HELLO[at : at + size] for at in range(0, len(HELLO), size)]
    assert said(scene, bench, endpoint, *parts)["sni"] == "api.example.com"


@pytest.mark.parametrize("size", [1, 50, 500])
def test_hello_in_several_records_is_read(scene: Scene, size: int) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    assert said(scene, bench, endpoint, in_records(HELLO, size))["sni"] == "api.example.com"


def test_hello_is_read_byte_by_byte_with_a_turn_after_each(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, started=False)
    client = scene.client(bench.address)
    for byte in HELLO[:-1]:
        client.sendall(bytes([byte]))
        bench.engine.step()
        assert bench.engine.held()["details"] == 0
    assert bench.board.endpoint(0).sessions_total == 0
    client.sendall(HELLO[-1:])
    bench.turn_until(lambda: bench.board.endpoint(0).bytes_in == len(HELLO))
    assert read_exactly(scene.enter(endpoint.accept()), len(HELLO)) == HELLO
    assert bench.engine.held()["details"] == 1


def test_bytes_that_follow_a_hello_at_once_are_passed_on(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    assert said(scene, bench, endpoint, HELLO + bytes(300_000))["sni"] == "api.example.com"


def test_hello_behind_a_proxy_header_is_read(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=TRUSTED)
    header = build(1, *PAIR)
    for parts in ([header, HELLO], [header + HELLO], [header[:9], header[9:] + HELLO[:9], HELLO[9:]]):
        client = scene.client(bench.address)
        for part in parts:
            client.sendall(part)
        server = scene.enter(endpoint.accept())
        assert read_exactly(server, len(HELLO)) == HELLO
        client.close()
        server.close()
        record = scene.record(bench)
        assert (record["sni"], record["client"]) == ("api.example.com", "192.0.2.1:56324")
        assert record["bytes_in"] == len(HELLO)


def test_name_that_a_proxy_header_says_needs_no_hello(scene: Scene) -> None:
    """The proxy before may have taken the TLS off, and the server may speak first."""
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=TRUSTED)
    client = scene.client(bench.address)
    client.sendall(theirs_v2(*PAIR, {AUTHORITY: b"Mail.example.com"}))
    server = scene.enter(endpoint.accept())
    server.sendall(b"220 ready")
    assert read_exactly(client, 9) == b"220 ready"
    client.close()
    server.close()
    assert scene.record(bench)["sni"] == "mail.example.com"


# ---- Clients without one ----------------------------------------------------------------------------


NAMELESS = {
    "not TLS": b"GET / HTTP/1.1\r\n\r\n",
    "one byte": b"\0",
    "no name": client_hello(None),
    "name with a quote": with_name(HELLO, "api.example.com", b'api",example.com'[:15]),
    "name with a new line": with_name(HELLO, "api.example.com", b"api\nexample.com"),
    "damaged": HELLO[:43] + b"\xff" + HELLO[44:],
    "too long": TOO_LONG,
    "cut short": HELLO[:-1],
    "cut in the first head": HELLO[:3],
}


@pytest.mark.parametrize("which", NAMELESS)
def test_client_without_a_name_is_served_as_one(scene: Scene, which: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    record = said(scene, bench, endpoint, NAMELESS[which])
    assert (record["sni"], record["closed_by"]) == (None, "client")


@pytest.mark.parametrize("which", ["not TLS", "no name", "name with a quote", "damaged", "too long"])
def test_client_without_a_name_is_served_before_it_ends(scene: Scene, which: str) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(NAMELESS[which])
    server = scene.enter(endpoint.accept())
    assert read_exactly(server, len(NAMELESS[which])) == NAMELESS[which]
    assert bench.call(bench.engine.held)["details"] == 0
    client.close()
    server.close()


@pytest.mark.parametrize(
    "sent", [b"", HELLO[:1], HELLO[:100], HELLO[:-1], in_records(HELLO, 40)[:-1]], ids=range(5)
)
def test_hello_that_does_not_come_ends_the_session_at_the_routing_deadline(scene: Scene, sent: bytes) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, routing_ms=100)
    client = scene.client(bench.address)
    client.sendall(sent)
    assert read_to_end(client) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("routing_timeout", "lb", [])
    assert record["duration_ms"] >= 99


def test_connection_without_a_byte_reaches_no_endpoint(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    scene.client(bench.address).close()
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("done", "client", [])


def test_client_that_resets_within_its_hello_is_recorded(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(HELLO[:50])
    eventually(lambda: bench.engine.sessions_open, within_s=5, reason="it was accepted")
    reset(client)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("client_reset", "client", [])


def test_order_that_ends_a_session_while_its_hello_is_awaited_is_recorded(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint)
    client = scene.client(bench.address)
    client.sendall(HELLO[:50])
    eventually(lambda: bench.engine.sessions_open, within_s=5, reason="it was accepted")
    bench.call(bench.engine.close_some, -1, 0, "operator", 0)
    assert read_to_end(client) == (b"", RESET)
    assert scene.record(bench)["reason"] == "operator"


@pytest.mark.parametrize("header", [build(1, *PAIR), build(2, *PAIR)], ids=["v1", "v2"])
def test_untrusted_client_with_a_header_in_place_of_a_hello_is_refused(scene: Scene, header: bytes) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=NOBODY)
    client = scene.client(bench.address)
    client.sendall(header + HELLO)
    assert read_to_end(client) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], record["bytes_in"]) == ("bad_proxy_header", 0)


def test_untrusted_client_with_a_hello_is_served(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = relay(scene, endpoint, accept_proxy=NOBODY)
    assert said(scene, bench, endpoint, HELLO)["sni"] == "api.example.com"
