"""Bounded turns: a greedy session, a flood of clients, or many streams leave the others their share."""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lb.shell.datapath import MORE
from tests.support.engine_bench import EngineBench
from tests.support.scripted_endpoint import TIMEOUT_S, read_exactly, unacknowledged
from tests.support.streams import InThread, digest, read_digest, send
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

ACCEPTS_MAX = 16
TURN_BYTES = 262_144
PIPE_BYTES = 262_144  # a turn may end with one pipe more than its bound
WARM_UP_BYTES = 8_000_000
LARGE_BUFFER = 2 << 20
STREAMS = 100
STEP_BYTES_MAX = 16 << 20  # what a millisecond is good for, and a round more; 64 sessions' turns are more


def test_greedy_stream_leaves_a_small_session_its_turns(scene: Scene) -> None:
    greedy, small = scene.endpoint(), scene.endpoint().echo()
    bench = scene.relay(greedy, small)
    sender, receiver = scene.session(bench, greedy)
    streaming = [InThread(send, sender, 400_000_000, 1), InThread(read_digest, receiver)]
    client = scene.client(bench.address)
    slowest_s = 0.0
    for number in range(100):
        start_s = time.monotonic()
        client.sendall(b"%04d" % number)
        assert read_exactly(client, 4) == b"%04d" % number
        slowest_s = max(slowest_s, time.monotonic() - start_s)
    assert streaming[1].is_alive(), "the stream ended too soon to say anything"
    assert slowest_s < 0.5, f"an exchange took {slowest_s:.3f} s beside the stream"
    assert streaming[1].result(60) == (400_000_000, digest(400_000_000, 1))


def test_step_accepts_a_bounded_batch(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, started=False)
    for _ in range(3 * ACCEPTS_MAX):
        scene.client(bench.address)
    bench.engine.step()
    assert bench.engine.sessions_open == ACCEPTS_MAX
    bench.turn_until(lambda: bench.engine.sessions_open == 3 * ACCEPTS_MAX)


@pytest.mark.parametrize("pipes_max", [0, 16])
def test_session_stopped_by_its_turn_goes_on_only_if_called_again(scene: Scene, pipes_max: int) -> None:
    """It has used up its edge: step() says MORE, and the descriptor will not become readable by itself."""
    if int(Path("/proc/sys/net/core/rmem_max").read_text()) < LARGE_BUFFER:
        pytest.skip("the kernel allows no socket to hold several turns' bytes")
    endpoint = scene.endpoint(receive_bytes=LARGE_BUFFER)
    bench = scene.relay(
        endpoint,
        pipes_max=pipes_max,
        started=False,
        connect_timeout_ms=60_000,
        receive_bytes=LARGE_BUFFER,
    )
    client = scene.client(bench.address)
    bench.turn_until(lambda: bench.engine.sessions_open == 1)
    server = scene.enter(endpoint.accept())
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == 1)
    grow_window(bench, client, server)
    before = bench.board.endpoint(0).bytes_in
    sent = client.send(bytes(3 * TURN_BYTES))
    assert sent > 2 * TURN_BYTES, f"the kernel takes only {sent} bytes at once"
    # Once lb's socket holds it all, nothing that the kernel does brings an event.
    eventually(
        lambda: not unacknowledged(client), within_s=5, reason="all lies before the engine", every_s=0.002
    )
    found = bench.engine.step()
    moved = bench.board.endpoint(0).bytes_in - before
    assert found & MORE
    assert moved < sent
    assert moved <= 2 * (TURN_BYTES + PIPE_BYTES), "a turn by its event, and one from the ready list"
    # Nobody calls: nothing moves, for no event comes.
    assert not select.select([bench.engine.fileno()], [], [], 0.1)[0]
    while bench.engine.step() & MORE:
        pass
    assert bench.board.endpoint(0).bytes_in - before == sent
    assert len(read_exactly(server, sent)) == sent


def grow_window(bench: EngineBench, client: socket.socket, server: socket.socket) -> None:
    """Moves some megabytes, so that the kernel trusts the path with large windows, and lb the reader."""
    sent = received = 0
    stood = False
    client.setblocking(False)
    server.setblocking(False)
    while sent < WARM_UP_BYTES or received < sent:
        with suppress(BlockingIOError):
            sent += client.send(bytes(TURN_BYTES)) if sent < WARM_UP_BYTES else 0
        bench.engine.step()
        held = bench.engine.held()
        stood = stood or held["blocks"] + held["pipes"] > 0
        with suppress(BlockingIOError):
            received += len(server.recv(1 << 20)) if stood else 0
    while bench.engine.step() & MORE:
        pass
    server.settimeout(TIMEOUT_S)


def test_step_before_many_streams_moves_a_bounded_number_of_bytes(scene: Scene) -> None:
    """So that orders are read in time, however many streams want to go on."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, started=False, pipes_max=64)
    clients = [scene.client(bench.address, send_bytes=TURN_BYTES) for _ in range(STREAMS)]
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == STREAMS)
    for _ in range(STREAMS):
        scene.enter(endpoint.accept())
    for client in clients:
        client.setblocking(False)
        with suppress(BlockingIOError):
            while client.send(bytes(65_536)):
                pass
    biggest = total = 0
    while True:
        found = bench.engine.step()
        moved = bench.board.endpoint(0).bytes_in - total
        biggest, total = max(biggest, moved), total + moved
        if not found & MORE and not moved:
            break
    assert total > STREAMS * TURN_BYTES, "there was too little to do"
    assert biggest <= STEP_BYTES_MAX, f"{biggest} bytes in one step"
