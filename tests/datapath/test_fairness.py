"""Bounded turns: a greedy session, a flood of clients, or many streams leave the others their share."""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING

import pytest

from lb.shell.datapath import MORE
from tests.support.scripted_endpoint import read_exactly
from tests.support.streams import InThread, digest, read_digest, send
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

ACCEPTS_MAX = 16
TURN_BYTES = 262_144
STEP_BYTES = 1 << 20
PIPE_BYTES = 262_144  # a turn may end with one pipe more than its bound


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
    endpoint = scene.endpoint(receive_bytes=4 << 20)
    bench = scene.relay(endpoint, pipes_max=pipes_max, started=False)
    client = scene.client(bench.address, send_bytes=2 << 20)
    bench.turn_until(lambda: bench.engine.sessions_open == 1)
    server = scene.enter(endpoint.accept())
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == 1)
    grow_window(bench, client, server)
    before = bench.board.endpoint(0).bytes_in
    client.setblocking(False)
    sent = client.send(bytes(3 * TURN_BYTES))
    assert sent > 2 * TURN_BYTES, f"the kernel takes only {sent} bytes at once"
    assert select.select([bench.engine.fileno()], [], [], 5)[0]
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


def grow_window(bench, client: socket.socket, server: socket.socket) -> None:  # noqa: ANN001
    """Moves some megabytes, so that the kernel trusts the path with large windows."""
    moving = InThread(send, client, 8_000_000, 1, half_close=False) if False else None
    assert moving is None
    sent = received = 0
    client.setblocking(False)
    server.setblocking(False)
    while received < 8_000_000:
        try:
            sent += client.send(bytes(262_144)) if sent < 8_000_000 else 0
        except BlockingIOError:
            pass
        bench.engine.step()
        try:
            received += len(server.recv(1 << 20))
        except BlockingIOError:
            pass
    while received < sent:
        bench.engine.step()
        try:
            received += len(server.recv(1 << 20))
        except BlockingIOError:
            pass
    while bench.engine.step() & MORE:
        pass
    client.setblocking(True)
    server.settimeout(10)


def test_step_before_many_streams_moves_a_bounded_number_of_bytes(scene: Scene) -> None:
    """So that orders are read in time, however many streams want to go on."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, started=False, pipes_max=64)
    clients = []
    for _ in range(40):
        clients.append(scene.client(bench.address))
        clients[-1].setblocking(False)
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == 40)
    servers = [scene.enter(endpoint.accept()) for _ in range(40)]
    for client in clients:
        while True:
            try:
                client.send(bytes(65_536))
            except BlockingIOError:
                break
    biggest = total = rounds = 0
    while True:
        found = bench.engine.step()
        moved = bench.board.endpoint(0).bytes_in - total
        biggest, total, rounds = max(biggest, moved), total + moved, rounds + 1
        if not found & MORE and not moved:
            break
    assert rounds > 3
    assert biggest <= 2 * (STEP_BYTES + TURN_BYTES + PIPE_BYTES), f"{biggest} bytes in one step"
    eventually(lambda: total > 40 * 100_000, within_s=0.1, reason="each had something to move")
    for server in servers:
        assert server.recv(1)
