"""upload_max and download_max: bytes per second of one session, and nothing lost on the way."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.engine_bench import snapshot_of
from tests.support.scripted_endpoint import FIN, read_exactly, read_to_end
from tests.support.streams import InThread, digest, read_digest, send
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

RATE = 4_000_000
BURST = RATE // 4
SIZE = 9_000_000  # two seconds' worth, after the burst
DIRECTIONS = ["upload", "download"]


def ends(direction: str, client: socket.socket, server: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Who sends, who reads."""
    return (client, server) if direction == "upload" else (server, client)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("pipes_max", [0, 16])
def test_stream_keeps_its_rate(scene: Scene, direction: str, pipes_max: int) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, pipes_max=pipes_max, **{f"{direction}_max": RATE})
    giver, taker = ends(direction, *scene.session(bench, endpoint))
    sending = InThread(send, giver, SIZE, 3)
    start_s = time.monotonic()
    assert read_digest(taker) == (SIZE, digest(SIZE, 3))
    rate = (SIZE - BURST) / (time.monotonic() - start_s)
    sending.result(10)
    print(f"\n{direction}: {rate / 1e6:.2f} MB/s of {RATE / 1e6:.0f}")
    assert 0.5 * RATE < rate < 1.15 * RATE


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_limit_of_one_direction_leaves_the_other_alone(scene: Scene, direction: str) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, **{f"{direction}_max": 20_000})
    taker, giver = ends(direction, *scene.session(bench, endpoint))
    sending = InThread(send, giver, SIZE, 4)
    assert read_digest(taker) == (SIZE, digest(SIZE, 4))
    sending.result(10)


def test_limit_is_each_sessions_own(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, download_max=RATE)
    pairs = [scene.session(bench, endpoint) for _ in range(3)]
    start_s = time.monotonic()
    sending = [InThread(send, server, BURST + RATE // 2, number) for number, (_, server) in enumerate(pairs)]
    reading = [InThread(read_digest, client) for client, _ in pairs]
    for number, one in enumerate(reading):
        assert one.result(20) == (BURST + RATE // 2, digest(BURST + RATE // 2, number))
    print(f"\nthree sessions took {time.monotonic() - start_s:.2f} s, of 0.5")
    assert time.monotonic() - start_s < 1.9, "of one bucket for all they would take 2 s"
    for one in sending:
        one.result(5)


def test_source_is_not_read_while_its_direction_waits(scene: Scene) -> None:
    """Its own window closes: little is held for it."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, upload_max=10_000, receive_bytes=65_536)
    client, _server = scene.session(bench, endpoint, send_bytes=65_536)
    client.settimeout(0.3)
    sent = 0
    with pytest.raises(TimeoutError):
        while sent < 64 << 20:
            sent += client.send(bytes(65_536))
    assert sent < 2 << 20
    assert bench.engine.held()["blocks"] + bench.engine.held()["pipes"] == 0


def test_direction_that_waits_wakes_the_engine_few_times(scene: Scene) -> None:
    """Whatever the source's packets, it is fed in portions."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, download_max=100_000)
    client, server = scene.session(bench, endpoint)
    sending = InThread(send, server, 216_384, 5)
    before = bench.board.worker(0).steps_total
    assert read_digest(client) == (216_384, digest(216_384, 5))
    steps = bench.board.worker(0).steps_total - before
    sending.result(5)
    print(f"\n{steps} steps for 200 kB after the burst")
    assert steps < 300


def test_rate_below_a_portion_still_moves_each_second(scene: Scene) -> None:
    """A thousand bytes per second, after a block's burst."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, upload_max=1000, idle_ms=5000)
    client, server = scene.session(bench, endpoint)
    client.sendall(bytes(16_384) + b"z" * 1500)
    assert read_exactly(server, 16_384) == bytes(16_384)
    assert read_exactly(server, 1500) == b"z" * 1500


def test_small_messages_within_the_rate_are_not_held_up(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.relay(endpoint, upload_max=50_000, download_max=50_000)
    client = scene.client(bench.address)
    for number in range(100):
        client.sendall(b"%04d" % number)
        assert read_exactly(client, 4) == b"%04d" % number


def test_idle_timeout_of_a_session_that_waits_for_tokens_counts_from_its_last_byte(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, upload_max=50_000, idle_ms=700, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    reading = InThread(read_to_end, server)
    client.sendall(bytes(100_000))  # 1.7 s after the burst
    record = scene.record(bench)
    assert (record["reason"], record["bytes_in"]) == ("idle_timeout", 100_000)
    assert len(reading.result(5)[0]) == 100_000


def test_half_close_after_paced_bytes_comes_after_each_of_them(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, upload_max=100_000, half_close_ms=5000)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"y" * 60_000)
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (b"y" * 60_000, FIN)
    server.close()
    assert scene.record(bench)["reason"] == "done"


def test_limit_that_a_reload_takes_away_is_gone(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, download_max=10_000)
    client, server = scene.session(bench, endpoint)
    sending = InThread(send, server, SIZE, 6)
    reading = InThread(read_digest, client)
    eventually(lambda: bench.board.endpoint(0).bytes_out >= 16_384, within_s=5, reason="the burst is through")
    throughout(lambda: bench.board.endpoint(0).bytes_out < 200_000, for_s=0.3, reason="it is paced")
    bench.call(bench.publish, snapshot_of([endpoint.address], generation=2))
    assert reading.result(20) == (SIZE, digest(SIZE, 6))
    sending.result(5)
