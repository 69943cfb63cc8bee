"""At a limit the backlog waits; it is served once there is room, and nothing spins meanwhile."""

from __future__ import annotations

import os
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from lb.shell.datapath import Board
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import read_exactly, reset
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

LIMITS: list[dict[str, Any]] = [{"sessions_max": 3}, {"sessions_max_all": 3}, {"slots": 3}]
SPIN_STEPS_MAX = 15  # in 0.3 s, with a look for room every 100 ms


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: next(iter(limit)))
def test_client_beyond_a_limit_waits_and_is_served_when_there_is_room(
    scene: Scene, limit: dict[str, Any]
) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, **limit)
    sessions = [scene.session(bench, endpoint) for _ in range(3)]
    waiting = [scene.client(bench.address) for _ in range(2)]
    for client in waiting:
        client.sendall(b"early")
    eventually(lambda: bench.board.worker(0).accept_paused_total == 1, within_s=5, reason="it paused")
    before = bench.board.worker(0).steps_total
    throughout(lambda: bench.engine.sessions_open == 3, for_s=0.3, reason="none beyond the limit")
    assert bench.board.worker(0).steps_total - before < SPIN_STEPS_MAX, "it spins"
    assert bench.board.worker(0).accept_paused_total == 1
    for client, server in sessions:
        client.close()
        server.close()
    for _ in waiting:
        assert read_exactly(scene.enter(endpoint.accept()), 5) == b"early"


def test_listeners_at_a_limit_of_all_take_turns(scene: Scene) -> None:
    """A place that became free is not always the first listener's."""
    endpoint = scene.endpoint()
    bench = scene.bench(snapshot_of([endpoint.address], listeners=2), sessions_max=1)
    other = bench.call(bench.listen, 8, 1)
    _, server = scene.session(bench, endpoint)
    for address in [bench.address, other] * 6:
        scene.client(address)
    served: list[int] = []
    for _ in range(6):
        reset(server)
        server = scene.enter(endpoint.accept())
        served += bench.board.sessions_open_by_listener()
    assert Counter(served) == {0: 3, 1: 3}, served


def test_limit_of_one_listener_leaves_another_alone(scene: Scene) -> None:
    endpoint = scene.endpoint()
    full = snapshot_of([endpoint.address], sessions_max=1, listeners=2)
    bench = scene.bench(full)
    other = bench.call(bench.listen, 8, 1)
    scene.session(bench, endpoint)
    scene.client(bench.address)
    eventually(lambda: bench.board.worker(0).accept_paused_total == 1, within_s=5, reason="one is paused")
    scene.client(other)
    scene.enter(endpoint.accept())
    assert bench.board.sessions_open_by_listener() == {0: 1, 1: 1}


def test_limit_that_is_raised_lets_waiting_clients_in(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, sessions_max=1)
    scene.session(bench, endpoint)
    scene.client(bench.address)
    eventually(lambda: bench.board.worker(0).accept_paused_total == 1, within_s=5, reason="it paused")
    bench.call(bench.publish, snapshot_of([endpoint.address], generation=2, sessions_max=2))
    scene.enter(endpoint.accept())


def test_limit_over_all_workers_counts_the_sessions_of_each(scene: Scene) -> None:
    """Room that one makes is found by the other within its next look."""
    endpoint = scene.endpoint()
    board = Board.create(2)
    one, two = (scene.relay(endpoint, board=board, worker=index, sessions_max_all=2) for index in (0, 1))
    client, server = scene.session(one, endpoint)
    scene.session(two, endpoint)
    scene.client(two.address)
    eventually(lambda: board.worker(1).accept_paused_total == 1, within_s=5, reason="it paused")
    client.close()
    server.close()
    scene.enter(endpoint.accept())


def test_endpoint_at_its_limit_gets_no_more_and_others_do(scene: Scene) -> None:
    endpoint, other = scene.endpoint(), scene.endpoint()
    addresses = [endpoint.address, other.address]
    bench = scene.bench(snapshot_of(addresses, endpoint_sessions_max=2))
    clients = [scene.client(bench.address) for _ in range(4)]
    eventually(lambda: bench.board.sessions_open_by_endpoint() == {0: 2, 1: 2}, within_s=5, reason="two each")
    clients[0].close()
    endpoint.accept().close()
    eventually(
        lambda: bench.board.sessions_open_by_endpoint() == {0: 1, 1: 2}, within_s=5, reason="room at one"
    )
    scene.client(bench.address)
    eventually(
        lambda: bench.board.sessions_open_by_endpoint() == {0: 2, 1: 2}, within_s=5, reason="taken again"
    )


def test_listener_without_a_line_waits_for_its_snapshot(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(None)
    client = scene.client(bench.address)
    client.sendall(b"first")
    eventually(lambda: bench.board.worker(0).accept_paused_total == 1, within_s=5, reason="it paused")
    bench.call(bench.publish, snapshot_of([endpoint.address]))
    assert read_exactly(scene.enter(endpoint.accept()), 5) == b"first"


# ---- Listening sockets ----


def listening_socket() -> socket.socket:
    made = socket.create_server(("127.0.0.1", 0), backlog=16)
    made.setblocking(False)
    return made


def test_listening_socket_ended_elsewhere_is_no_spin(scene: Scene) -> None:
    """The supervisor ends a listener by shutdown(); its worker hears of it a little later."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    with listening_socket() as listening:
        bench.call(bench.engine.listen, 8, 0, os.dup(listening.fileno()))
        listening.shutdown(socket.SHUT_RDWR)
        before = bench.board.worker(0).steps_total
        paused = bench.board.worker(0).accept_paused_total
        throughout(
            lambda: bench.board.worker(0).steps_total - before < SPIN_STEPS_MAX, for_s=0.3, reason="it spins"
        )
        assert bench.board.worker(0).accept_paused_total == paused, "that is no lack of room"
        scene.session(bench, endpoint)
        assert bench.call(bench.engine.unlisten, 8)
        assert not bench.call(bench.engine.unlisten, 8)


def test_listening_socket_that_others_hold_is_left_to_them(scene: Scene) -> None:
    """close() alone would not take it out of the epoll set; the copy's clients must not be touched."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    with listening_socket() as listening:
        bench.call(bench.engine.listen, 8, 0, os.dup(listening.fileno()))
        assert bench.call(bench.engine.unlisten, 8)
        before = bench.board.worker(0).steps_total
        client = scene.client(listening.getsockname())
        accepted, _ = listening.accept()
        with accepted:
            accepted.sendall(b"other")
            assert read_exactly(client, 5) == b"other"
        assert bench.board.worker(0).steps_total - before <= 2


def test_listening_socket_known_already_changes_its_listener_and_closes_the_copy(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(snapshot_of([endpoint.address], listeners=2))
    with listening_socket() as listening:
        bench.call(bench.engine.listen, 8, 0, os.dup(listening.fileno()))
        copy = os.dup(listening.fileno())
        bench.call(bench.engine.listen, 8, 1, copy)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(copy)
        scene.client(listening.getsockname())
        scene.enter(endpoint.accept())
    assert bench.board.sessions_open_by_listener() == {1: 1}


def test_listening_socket_that_is_no_socket_is_refused(scene: Scene) -> None:
    bench = scene.bench(None, started=False)
    with pytest.raises(OSError, match="not permitted"):
        bench.engine.listen(9, 0, os.open("/etc/hosts", os.O_RDONLY))


def test_closed_engine_refuses_and_does_not_crash(scene: Scene) -> None:
    bench = EngineBench(snapshot_of([]))
    bench.engine.close()
    assert (bench.engine.step(), bench.engine.sessions_open, bench.engine.take_failures()) == (0, 0, {})
    assert bench.engine.close_some(-1, -1, "shutdown", 0) == -1
    assert not bench.engine.unlisten(7)
    for order in (lambda: bench.publish(snapshot_of([])), lambda: bench.engine.beat(1)):
        with pytest.raises(ValueError, match="closed"):
            order()
    bench.close()
