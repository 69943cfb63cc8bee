"""A reset arrives as a reset, and only after every byte that was received before it."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from tests.support.blackhole import blackhole
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import (
    FIN,
    RESET,
    ScriptedEndpoint,
    read_exactly,
    read_to_end,
    reset,
    unacknowledged,
)
from tests.support.stage import Turner, connecting
from tests.support.streams import InThread
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

MIB = 1 << 20
DATA = bytes(range(251)) * (MIB // 251 + 1)
DATA = DATA[:MIB]
SMALL_BUFFER = 4096
HELD_BYTES = 100_000  # lb takes as much for a reader that never reads


def send_and_reset(connection: socket.socket, size: int = MIB) -> None:
    """Waits until the peer acknowledged everything: a reset throws away what is still on its way."""
    connection.sendall(DATA[:size])
    eventually(lambda: not unacknowledged(connection), within_s=20, reason="lb has it all", every_s=0.002)
    reset(connection)


@pytest.mark.parametrize("by", ["client", "endpoint"])
@pytest.mark.parametrize("pipes_max", [0, 16])
def test_reset_after_a_mebibyte_is_delivered_after_every_byte(scene: Scene, by: str, pipes_max: int) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, pipes_max=pipes_max)
    client, server = scene.session(bench, endpoint)
    breaker, reader = (client, server) if by == "client" else (server, client)
    reading = InThread(read_to_end, reader)
    send_and_reset(breaker)
    data, end = reading.result(20)
    assert (len(data), data == DATA, end) == (MIB, True, RESET)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == (f"{by}_reset", by)
    assert record["bytes_in" if by == "client" else "bytes_out"] == MIB


@pytest.mark.parametrize("said", [b"", b"half a request"])
def test_client_that_resets_before_its_endpoint_is_known_to_be_connected_has_reset(said: bytes) -> None:
    """The endpoint's kernel has accepted, the engine has not seen it yet: what an endpoint gets must not be a
    clean end, as if the client had had nothing to say."""
    endpoint = ScriptedEndpoint()
    bench = EngineBench(snapshot_of([endpoint.address], half_close_ms=0))
    turner = Turner(bench)
    client = connecting(bench.address)
    client.sendall(said)
    turner.step()
    server = endpoint.accept()
    reset(client)
    turner.until(
        lambda: not bench.engine.sessions_open, wait_ms=50, waits_max=100, reason="the session has ended"
    )
    assert read_to_end(server) == (b"", RESET)
    assert [json.loads(line)["reason"] for line in bench.lines()] == ["client_reset"]
    bench.close()
    endpoint.close()


@pytest.mark.parametrize("by", ["client", "endpoint"])
def test_reset_before_a_slow_reader_is_delivered_after_every_byte(scene: Scene, by: str) -> None:
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, reset_linger_ms=20_000)
    client, server = scene.session(bench, endpoint, receive_bytes=SMALL_BUFFER)
    breaker, reader = (client, server) if by == "client" else (server, client)
    sending = InThread(send_and_reset, breaker)
    data, end = read_to_end(reader, pause_s=0.0005, chunk_bytes=4096)
    sending.result(5)
    assert (len(data), data == DATA, end) == (MIB, True, RESET)


def test_reset_that_does_not_linger_truncates(scene: Scene) -> None:
    """Why the wait for acknowledgements is there: without it the reader below loses bytes."""
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, reset_linger_ms=0)
    client, server = scene.session(bench, endpoint)
    sending = InThread(send_and_reset, client, HELD_BYTES)
    sending.result(20)
    scene.record(bench)
    data, end = read_to_end(server)
    assert end == RESET
    assert len(data) < HELD_BYTES
    assert data == DATA[: len(data)]


def test_reset_before_a_reader_that_never_reads_ends_at_the_linger_bound(scene: Scene) -> None:
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, reset_linger_ms=300)
    client, _server = scene.session(bench, endpoint)
    InThread(send_and_reset, client, HELD_BYTES).result(20)
    record = scene.record(bench)
    assert record["reason"] == "client_reset"
    assert record["duration_ms"] >= 299  # deadlines are whole milliseconds


def test_reset_of_the_client_while_connecting_ends_the_session(scene: Scene) -> None:
    port = scene.enter(blackhole()).port
    bench = scene.bench(snapshot_of([("127.0.0.1", port)], connect_timeout_ms=60_000))
    client = scene.client(bench.address)
    eventually(lambda: bench.engine.sessions_open, within_s=5, reason="the session began")
    reset(client)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("client_reset", "client")
    assert [attempt["result"] for attempt in record["attempts"]] == ["unfinished"]
    assert bench.call(bench.engine.take_failures) == {}, "the endpoint is not to blame"


def test_reset_of_both_sides_ends_the_session_at_once(scene: Scene) -> None:
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, reset_linger_ms=60_000)
    client, server = scene.session(bench, endpoint)
    send_and_reset(client, HELD_BYTES)
    eventually(lambda: bench.engine.held()["descriptors"] == 1, within_s=5, reason="it lingers")
    reset(server)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("client_reset", "client")
    assert record["duration_ms"] < 10_000


@pytest.mark.parametrize("by", ["client", "endpoint"])
def test_reset_after_half_close_is_passed_on(scene: Scene, by: str) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    breaker, other = (client, server) if by == "client" else (server, client)
    breaker.sendall(b"last words")
    breaker.shutdown(socket.SHUT_WR)
    assert read_to_end(other) == (b"last words", FIN)
    reset(breaker)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == (f"{by}_reset", by)
    with pytest.raises(ConnectionError):
        for _ in range(1000):
            other.sendall(b"?")


@pytest.mark.parametrize("by", ["client", "endpoint"])
def test_reset_of_the_side_that_still_receives_is_passed_on(scene: Scene, by: str) -> None:
    """The other side ended its stream; the one that is to answer is reset instead."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    breaker, other = (client, server) if by == "client" else (server, client)
    other.shutdown(socket.SHUT_WR)
    assert read_to_end(breaker) == (b"", FIN)
    breaker.sendall(b"half an answer")
    assert read_exactly(other, 14) == b"half an answer"
    reset(breaker)
    assert read_to_end(other) == (b"", RESET)
    assert scene.record(bench)["reason"] == f"{by}_reset"


@pytest.mark.parametrize("pipes_max", [0, 16])
def test_reset_after_an_end_of_stream_behind_a_blocked_reader_is_passed_on(
    scene: Scene, pipes_max: int
) -> None:
    """The client's stream ended in good order, but then it was reset: nobody is there for the answer."""
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, half_close_ms=60_000, reset_linger_ms=60_000, pipes_max=pipes_max)
    client, server = scene.session(bench, endpoint)
    sending = InThread(client.sendall, DATA * 8)
    eventually(
        lambda: bench.engine.held()["blocks"] + bench.engine.held()["pipes"],
        within_s=5,
        reason="the endpoint's side is blocked",
    )
    reading = InThread(read_to_end, server)
    sending.result(20)
    client.shutdown(socket.SHUT_WR)
    eventually(lambda: not unacknowledged(client), within_s=20, reason="lb has it all", every_s=0.002)
    reset(client)
    data, end = reading.result(20)
    assert (len(data), data == DATA * 8, end) == (8 * MIB, True, FIN) or end == RESET
    assert scene.record(bench)["reason"] == "client_reset"


def test_reset_of_an_endpoint_that_left_bytes_unread_reaches_the_client(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"unread")
    server.sendall(b"answer")
    eventually(lambda: server.recv(6, socket.MSG_PEEK) == b"unread", within_s=5, reason="it arrived")
    server.close()  # with bytes unread, this resets
    data, end = read_to_end(client)
    assert (data, end) == (b"answer", RESET)
    assert scene.record(bench)["reason"] == "endpoint_reset"


def test_reset_gives_a_reader_that_stopped_before_all_of_reset_linger(scene: Scene) -> None:
    """The wheel looks at the session in the meantime; it must not count from the last byte that moved."""
    endpoint = scene.endpoint()
    bench = scene.relay(
        endpoint, reset_linger_ms=1500, user_timeout_ms=1000, connect_timeout_ms=50, pipes_max=0
    )
    client, server = scene.session(bench, endpoint, receive_bytes=SMALL_BUFFER)
    server.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while True:
            sent += server.send(DATA[:SMALL_BUFFER])
    assert bench.engine.held()["blocks"] == 1, "lb keeps what the client did not take, and has more unread"
    throughout(lambda: bench.engine.sessions_open == 1, for_s=2.0, reason="it waits for its reader")
    arrived = sent - unacknowledged(server)
    reset(server)
    throughout(lambda: bench.engine.sessions_open == 1, for_s=1.0, reason="and still, after the reset")
    data, end = read_to_end(client)
    expected = (DATA[:SMALL_BUFFER] * (sent // SMALL_BUFFER + 1))[:arrived]
    assert (len(data), data == expected, end) == (arrived, True, RESET)
    assert scene.record(bench)["reason"] == "endpoint_reset"


def test_order_to_close_an_endpoint_spares_what_lingers_after_its_reset(scene: Scene) -> None:
    """It is no longer that endpoint's: what was accepted from it is on its way to the client."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, reset_linger_ms=5000)
    client, server = scene.session(bench, endpoint, receive_bytes=SMALL_BUFFER)
    InThread(send_and_reset, server, HELD_BYTES).result(20)
    eventually(lambda: bench.engine.held()["descriptors"] == 1, within_s=5, reason="it lingers")
    assert bench.call(bench.engine.close_some, 0, -1, "endpoint_down", 0) == -1
    assert read_to_end(client) == (DATA[:HELD_BYTES], RESET)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("endpoint_reset", "endpoint")
