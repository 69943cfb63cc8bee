"""Bytes and ends of stream, each way, whoever speaks first: nothing lost, added, or out of order."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.scripted_endpoint import FIN, RESET, read_exactly, read_to_end
from tests.support.streams import InThread
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

SMALL_BUFFER = 4096
PENDING_BYTES = 200_000  # several times what the small buffers of a path hold
PATTERN = bytes(range(256)) * (PENDING_BYTES // 256)


def test_echo_small_comes_back(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    client = scene.client(scene.relay(endpoint).address)
    for message in (b"a", b"hello", b"x" * 16_383, b"y" * 16_384, b"z" * 16_385):
        client.sendall(message)
        assert read_exactly(client, len(message)) == message


def test_echo_in_slices_of_one_byte_comes_back(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    client = scene.client(scene.relay(endpoint).address)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    message = bytes(range(256)) * 4
    for byte in message:
        client.sendall(bytes([byte]))
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == (message, FIN)


def test_server_that_speaks_first_is_heard(scene: Scene) -> None:
    endpoint = scene.endpoint()
    client, server = scene.session(scene.relay(endpoint), endpoint)
    server.sendall(b"220 ready")
    assert read_exactly(client, 9) == b"220 ready"
    client.sendall(b"QUIT")
    assert read_exactly(server, 4) == b"QUIT"


@pytest.mark.parametrize("size", [0, 1, 16_384, 100_000])
def test_client_that_sends_and_closes_at_once_is_heard_whole(scene: Scene, size: int) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client = scene.client(bench.address)
    client.sendall(PATTERN[:size])
    client.close()
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (PATTERN[:size], FIN)
    server.close()
    record = scene.record(bench)
    assert (record["reason"], record["bytes_in"], record["bytes_out"]) == ("done", size, 0)


def test_endpoint_that_sends_and_closes_at_once_is_heard_whole(scene: Scene) -> None:
    endpoint = scene.endpoint()
    client, server = scene.session(scene.relay(endpoint), endpoint)
    server.sendall(PATTERN)
    server.close()
    assert read_to_end(client) == (PATTERN, FIN)


def test_session_without_a_byte_ends_done(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    server.close()
    assert read_to_end(client) == (b"", FIN)
    client.close()
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("done", "endpoint")
    assert (record["bytes_in"], record["bytes_out"], record["first_byte_ms"]) == (0, 0, None)


# ---- Half-close ----


def test_half_close_of_the_client_leaves_the_answer_its_way(scene: Scene) -> None:
    endpoint = scene.endpoint()
    client, server = scene.session(scene.relay(endpoint), endpoint)
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (b"question", FIN)
    server.sendall(PATTERN)
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == (PATTERN, FIN)


def test_half_close_of_the_endpoint_leaves_the_client_its_way(scene: Scene) -> None:
    endpoint = scene.endpoint()
    client, server = scene.session(scene.relay(endpoint), endpoint)
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == (b"", FIN)
    client.sendall(PATTERN)
    client.close()
    assert read_to_end(server) == (PATTERN, FIN)


def test_half_close_of_both_at_once_ends_the_session_done(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"to the endpoint")
    server.sendall(b"to the client")
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (b"to the endpoint", FIN)
    assert read_to_end(client) == (b"to the client", FIN)
    assert scene.record(bench)["reason"] == "done"


@pytest.mark.parametrize("pipes_max", [0, 16])
def test_end_of_stream_behind_a_blocked_reader_comes_after_every_byte(scene: Scene, pipes_max: int) -> None:
    """The client has long left when the endpoint begins to read."""
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, pipes_max=pipes_max)
    client, server = scene.session(bench, endpoint)
    sending = InThread(client.sendall, PATTERN * 40)  # 8 MB: more than the kernel keeps on the way
    eventually(
        lambda: bench.engine.held()["blocks"] + bench.engine.held()["pipes"],
        within_s=5,
        reason="the endpoint's side is blocked",
    )
    reading = InThread(read_to_end, server)
    sending.result(20)
    client.close()
    assert reading.result(20) == (PATTERN * 40, FIN)


def test_half_close_0_ends_the_session_at_the_first_end_of_stream(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, half_close_ms=0)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"to the end")
    assert read_exactly(server, 10) == b"to the end"
    server.sendall(PATTERN)
    server.shutdown(socket.SHUT_WR)
    data, _ = read_to_end(client)
    assert data == PATTERN, "what came before the end of stream is delivered"
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["bytes_out"]) == ("done", "endpoint", len(PATTERN))
    assert read_to_end(server)[1] in (FIN, RESET)


def test_half_close_0_stops_counting_before_the_client_sees_the_end(scene: Scene) -> None:
    """So that one client after the other never finds an endpoint full that has room for one session."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, half_close_ms=0)
    client, server = scene.session(bench, endpoint, receive_bytes=SMALL_BUFFER)
    server.sendall(PATTERN[:100_000])  # the kernel takes it all
    server.close()
    # The client has not read the bytes, so it cannot have seen the end.
    eventually(
        lambda: not bench.board.sessions_open_by_endpoint(), within_s=5, reason="the endpoint has room"
    )
    assert bench.engine.sessions_open == 1
    assert read_to_end(client) == (PATTERN[:100_000], FIN)


def test_half_close_0_leaves_room_for_one_client_after_the_other(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, half_close_ms=0, endpoint_sessions_max=1, pipes_max=0)
    for number in range(100):
        client, server = scene.session(bench, endpoint)
        server.sendall(b"ok")
        server.close()
        assert read_to_end(client) == (b"ok", FIN), f"session {number} found no room"
        client.close()
    assert {record["reason"] for record in scene.records(bench, 100)} == {"done"}


# ---- Urgent data ----


@pytest.mark.parametrize("towards", ["endpoint", "client"])
def test_urgent_data_within_a_copy_is_neither_lost_nor_a_stall(scene: Scene, towards: str) -> None:
    endpoint = scene.endpoint()
    client, server = scene.session(scene.relay(endpoint), endpoint)
    giver, taker = (client, server) if towards == "endpoint" else (server, client)
    for sock in (giver, taker):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    expected = b""
    for number in range(200):
        giver.send(b"before%d" % number)
        giver.send(b"!", socket.MSG_OOB)
        giver.send(b"after%d" % number)
        expected += b"before%d!after%d" % (number, number)
        if number % 3 == 0:  # now and then alone: nothing comes behind it that would hide a stall
            assert read_exactly(taker, len(expected)) == expected
            expected = b""
    giver.shutdown(socket.SHUT_WR)
    assert read_to_end(taker) == (expected, FIN)


def test_urgent_data_within_a_stream_is_neither_lost_nor_a_stall(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    reading = InThread(read_to_end, server)
    expected = b""
    for number in range(12):
        client.sendall(PATTERN * 5)
        client.send(b"!" if number % 2 else b"?!", socket.MSG_OOB)
        expected += PATTERN * 5 + (b"!" if number % 2 else b"?!")
    client.shutdown(socket.SHUT_WR)
    data, end = reading.result(20)
    assert (len(data), data == expected, end) == (len(expected), True, FIN)


def test_stream_after_urgent_data_that_was_read_is_spliced_again(scene: Scene) -> None:
    """What a reader that stops leaves is in a pipe then, not in a block."""
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
    client.send(b"!", socket.MSG_OOB)
    assert read_exactly(server, 1) == b"!"
    client.sendall(b"on")
    assert read_exactly(server, 2) == b"on"
    client.settimeout(0.3)
    with pytest.raises(TimeoutError):
        client.sendall(PATTERN * 100)
    held = bench.engine.held()
    assert (held["blocks"], held["pipes"]) == (0, 1)


# ---- Idle sessions ----


def test_idle_session_holds_no_buffer(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.relay(endpoint)
    clients = [scene.client(bench.address) for _ in range(20)]
    for client in clients:
        client.sendall(b"x" * 50_000)
        read_exactly(client, 50_000)
    idle = {"slots": 20, "descriptors": 40, "deadlines": 20}

    def held() -> dict[str, int]:
        return {what: count for what, count in bench.engine.held().items() if count}

    eventually(lambda: held() == idle, within_s=2, reason="only slots and descriptors are held")


def test_idle_session_takes_no_turns(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=0)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"x")
    read_exactly(server, 1)
    eventually(lambda: not bench.engine.held()["blocks"], within_s=1, reason="the byte is through")
    before = bench.board.worker(0).steps_total
    throughout(lambda: bench.board.worker(0).steps_total <= before + 3, for_s=0.3, reason="the engine spins")
