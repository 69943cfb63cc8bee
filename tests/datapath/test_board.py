"""The scoreboard: what workers count, the supervisor reads; ids and workers are forgotten whole."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from lb.shell.datapath import (
    CONNECT_FAILURES,
    ENDPOINTS_MAX,
    LISTENERS_MAX,
    WORKERS_MAX,
    Board,
    Engine,
)
from tests.support.engine_bench import snapshot_of
from tests.support.scripted_endpoint import read_exactly
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene


def test_board_that_is_new_counts_nothing() -> None:
    board = Board.create(3)
    assert (board.sessions_open_by_endpoint(), board.sessions_open_by_listener()) == ({}, {})
    counts = board.endpoint(ENDPOINTS_MAX - 1)
    assert (counts.sessions_open, counts.bytes_in) == (0, 0)
    assert counts.connect_failures == dict.fromkeys(CONNECT_FAILURES, 0)
    assert len(counts.connect_seconds.counts) == len(counts.connect_seconds.bounds) + 1
    assert board.listener(LISTENERS_MAX - 1).sessions_total == 0
    assert board.worker(2).steps_total == 0
    board.close()
    assert board.worker(2).steps_total == 0, "it can still be read"


def test_board_refuses_what_lies_outside_it() -> None:
    board = Board.create(2)
    for read in (
        lambda: board.endpoint(ENDPOINTS_MAX),
        lambda: board.listener(LISTENERS_MAX),
        lambda: board.worker(2),
        lambda: board.forget_worker(2),
        lambda: board.forget_endpoint(ENDPOINTS_MAX),
        lambda: board.forget_listener(LISTENERS_MAX),
    ):
        with pytest.raises(IndexError):
            read()
    board.close()
    for workers in (0, WORKERS_MAX + 1):
        with pytest.raises(ValueError, match="workers"):
            Board.create(workers)


@pytest.mark.parametrize("damage", ["magic", "layout", "size", "worker"])
def test_board_of_another_version_is_refused_by_the_engine(damage: str) -> None:
    board = Board.create(1)
    if damage == "size":
        os.ftruncate(board.fd, 8192)
    elif damage != "worker":
        os.pwrite(board.fd, b"\xff", {"magic": 0, "layout": 8}[damage])
    worker = 1 if damage == "worker" else 0
    with pytest.raises(ValueError, match="scoreboard"):
        Engine(worker=worker, sessions_max=1, sessions_max_all=0, pipes_max=0, board_fd=board.fd, ring_fd=-1)
    board.close()


def test_counts_of_two_workers_are_summed(scene: Scene) -> None:
    endpoint = scene.endpoint()
    board = Board.create(2)
    benches = [scene.relay(endpoint, board=board, worker=index) for index in (0, 1)]
    for number, bench in enumerate(benches):
        for _ in range(number + 1):
            client, server = scene.session(bench, endpoint)
            client.sendall(b"12345")
            assert read_exactly(server, 5) == b"12345"
            server.sendall(b"123")
            assert read_exactly(client, 3) == b"123"
    assert [board.worker(index).sessions_open for index in (0, 1)] == [1, 2]
    assert (board.sessions_open_by_endpoint(), board.sessions_open_by_listener()) == ({0: 3}, {0: 3})
    eventually(lambda: board.endpoint(0).bytes_out == 9, within_s=5, reason="all is counted")
    counts = board.endpoint(0)
    assert (counts.sessions_open, counts.sessions_total, counts.bytes_in) == (3, 3, 15)
    assert sum(counts.connect_seconds.counts) == sum(counts.first_byte_seconds.counts) == 3
    assert 0 < counts.connect_seconds.sum < 3


def test_forgotten_endpoint_and_listener_count_from_0(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"x")
    assert read_exactly(server, 1) == b"x"
    client.close()
    server.close()
    scene.empty(bench)
    bench.board.forget_endpoint(0)
    bench.board.forget_listener(0)
    counts = bench.board.endpoint(0)
    assert (counts.sessions_total, counts.bytes_in, sum(counts.connect_seconds.counts)) == (0, 0, 0)
    assert bench.board.listener(0).sessions_total == sum(bench.board.listener(0).closed.values()) == 0
    scene.session(bench, endpoint)
    eventually(lambda: bench.board.endpoint(0).sessions_total == 1, within_s=5, reason="it counts again")


def test_forgotten_worker_leaves_the_others_gauges(scene: Scene) -> None:
    """The dead one's go to 0; what it counted for ever stays."""
    endpoint = scene.endpoint()
    board = Board.create(2)
    dying, living = (scene.relay(endpoint, board=board, worker=index) for index in (0, 1))
    scene.session(living, endpoint)
    clients = [scene.session(dying, endpoint) for _ in range(2)]
    dying.call(dying.engine.beat, 700)
    for client, server in clients:
        client.close()
        server.close()
    scene.empty(dying)
    board.forget_worker(0)
    assert (board.worker(0).sessions_open, board.worker(0).heartbeat_ns) == (0, 0)
    assert sum(board.worker(0).loop_lag_seconds.counts) == 1
    assert board.sessions_open_by_endpoint() == {0: 1}
    assert board.listener(0).sessions_total == 3


def test_sessions_that_are_being_connected_count_as_open(scene: Scene) -> None:
    from tests.support.blackhole import blackhole

    port = scene.enter(blackhole()).port
    bench = scene.bench(snapshot_of([("127.0.0.1", port)], connect_timeout_ms=300, attempts_max=1))
    client = scene.client(bench.address)
    eventually(lambda: bench.board.sessions_open_by_endpoint() == {0: 1}, within_s=5, reason="held")
    assert bench.board.endpoint(0).sessions_total == 0, "none was connected"
    assert scene.record(bench)["reason"] == "connect_failed"
    assert bench.board.sessions_open_by_endpoint() == {}
    client.close()
