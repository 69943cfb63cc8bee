"""Streams: long ones in both directions at once, spliced and copied, in pieces of any size."""

from __future__ import annotations

import hashlib
import random
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.scripted_endpoint import read_exactly
from tests.support.streams import InThread, digest, read_digest, send
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

STREAM_BYTES = 100_000_000
WITHIN_S = 60.0


@pytest.mark.parametrize("pipes_max", [0, 16])
def test_streams_both_ways_at_once_arrive_whole(scene: Scene, pipes_max: int) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, pipes_max=pipes_max)
    client, server = scene.session(bench, endpoint)
    work = [
        InThread(send, client, STREAM_BYTES, 1),
        InThread(send, server, STREAM_BYTES, 2),
        InThread(read_digest, server),
        InThread(read_digest, client),
    ]
    _, _, upload, download = [one.result(WITHIN_S) for one in work]
    assert upload == (STREAM_BYTES, digest(STREAM_BYTES, 1))
    assert download == (STREAM_BYTES, digest(STREAM_BYTES, 2))
    record = scene.record(bench)
    assert (record["bytes_in"], record["bytes_out"]) == (STREAM_BYTES, STREAM_BYTES)
    counts = bench.board.endpoint(0)
    assert (counts.bytes_in, counts.bytes_out) == (STREAM_BYTES, STREAM_BYTES)


def test_stream_uses_pipes_only_where_there_are_some(scene: Scene) -> None:
    """That the tests with pipes_max 0 and 16 do take the two ways that they are about."""
    for pipes_max in (0, 2):
        endpoint = scene.endpoint(receive_bytes=4096)
        bench = scene.relay(endpoint, pipes_max=pipes_max)
        client, server = scene.session(bench, endpoint)
        sending = InThread(send, client, 4_000_000, 1)
        kept = "pipes" if pipes_max else "blocks"
        eventually(
            lambda b=bench, k=kept: b.engine.held()[k] == 1, within_s=5, reason=f"one of the {kept} is held"
        )
        assert read_digest(server) == (4_000_000, digest(4_000_000, 1))
        sending.result(WITHIN_S)


def send_in_pieces(connection: socket.socket, data: bytes, sizes: list[int]) -> None:
    """The sizes are those of the sends; a pause is where a size is 0, until the peer asked for it."""
    at = 0
    for size in sizes:
        connection.sendall(data[at : at + size])
        at += size
    connection.sendall(data[at:])
    connection.shutdown(socket.SHUT_WR)


def read_in_pieces(connection: socket.socket, draw: random.Random) -> tuple[int, str]:
    size, found = 0, hashlib.sha256()
    while chunk := connection.recv(draw.choice((1, 100, 4096, 16_384, 65_536, 1 << 20))):
        size += len(chunk)
        found.update(chunk)
    return size, found.hexdigest()


@pytest.mark.parametrize("seed", range(6))
def test_stream_in_pieces_of_any_size_is_the_same_spliced_and_copied(scene: Scene, seed: int) -> None:
    """One random conversation through two benches: the bytes and the counts are the same."""
    seen = []
    for pipes_max in (0, 1, 16):
        draw = random.Random(seed)
        data = draw.randbytes(3_000_000)
        sizes = [draw.choice((0, 1, 7, 1460, 16_383, 16_384, 16_385, 100_000, 300_000)) for _ in range(60)]
        endpoint = scene.endpoint(receive_bytes=draw.choice((0, 8192)))
        bench = scene.relay(endpoint, pipes_max=pipes_max)
        client, server = scene.session(bench, endpoint, receive_bytes=draw.choice((0, 8192)))
        work = [
            InThread(send_in_pieces, client, data, sizes),
            InThread(send_in_pieces, server, data[::-1], sizes[::-1]),
            InThread(read_in_pieces, server, random.Random(seed)),
            InThread(read_in_pieces, client, random.Random(seed + 1)),
        ]
        _, _, upload, download = [one.result(WITHIN_S) for one in work]
        assert upload == (len(data), hashlib.sha256(data).hexdigest()), f"seed {seed}, pipes_max {pipes_max}"
        assert download == (len(data), hashlib.sha256(data[::-1]).hexdigest()), f"seed {seed}, {pipes_max}"
        record = scene.record(bench)
        seen.append([record[key] for key in ("bytes_in", "bytes_out", "reason")])
    assert seen[0] == seen[1] == seen[2], f"seed {seed}"


def send_with_urgent_bytes(connection: socket.socket, data: bytes, sizes: list[int]) -> None:
    """As send_in_pieces, but the last byte of every third piece is sent as urgent data."""
    at = 0
    for number, size in enumerate(sizes):
        piece = data[at : at + size]
        at += size
        if piece and number % 3 == 0:
            connection.sendall(piece[:-1])
            connection.sendall(piece[-1:], socket.MSG_OOB)
        else:
            connection.sendall(piece)
    connection.sendall(data[at:])
    connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("seed", range(3))
def test_stream_with_urgent_data_and_a_half_close_is_the_same_spliced_and_copied(
    scene: Scene, seed: int
) -> None:
    """The endpoint answers only when the client has ended: the other way outlives a half-close."""
    for pipes_max in (0, 16):
        draw = random.Random(seed)
        data = draw.randbytes(2_000_000)
        sizes = [draw.choice((1, 2, 1460, 16_384, 65_536, 150_000)) for _ in range(40)]
        endpoint = scene.endpoint(receive_bytes=draw.choice((0, 32_768)))
        client, server = scene.session(scene.relay(endpoint, pipes_max=pipes_max), endpoint)
        for end in (client, server):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sending = InThread(send_with_urgent_bytes, client, data, sizes)
        upload = InThread(read_in_pieces, server, random.Random(seed)).result(WITHIN_S)
        sending.result(WITHIN_S)
        answering = InThread(send_with_urgent_bytes, server, data[::-1], sizes)
        download = InThread(read_in_pieces, client, random.Random(seed)).result(WITHIN_S)
        answering.result(WITHIN_S)
        expected = [(len(data), hashlib.sha256(each).hexdigest()) for each in (data, data[::-1])]
        assert [upload, download] == expected, f"seed {seed}, pipes_max {pipes_max}"


def test_stream_that_turns_into_small_messages_is_answered_at_once(scene: Scene) -> None:
    """Out of splicing and back into it, several times within one session."""
    endpoint = scene.endpoint().echo()
    client = scene.client(scene.relay(endpoint).address)
    for size in (500_000, 1, 2, 3, 500_000, 16_384, 16_384, 16_384, 16_384, 1, 500_000, 1):
        data = random.Random(size).randbytes(size)
        sending = InThread(client.sendall, data)
        assert read_exactly(client, size) == data
        sending.result(WITHIN_S)
