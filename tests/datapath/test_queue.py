"""Waiting for room at an endpoint: first come, first served, over all workers."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from lb.model.listener import RefuseBy
from lb.model.snapshot import Snapshot
from lb.shell.datapath import Board
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import FIN, RESET, ScriptedEndpoint, read_exactly, read_to_end, reset
from tests.support.snapshots import with_listener, with_pool
from tests.support.waiting import eventually, throughout
from tests.support.worker_bench import WorkerBench

if TYPE_CHECKING:
    from conftest import Scene

FOREVER_MS = 60_000


def queueing(*endpoints: ScriptedEndpoint, **keys: Any) -> Snapshot:
    """Each endpoint has room for one session, which ends with its first end of stream."""
    of_pool = {"queue_max": 100, "queue_timeout_ms": FOREVER_MS}
    of_pool |= {key: keys.pop(key) for key in ("queue_max", "queue_timeout_ms") if key in keys}
    options: dict[str, Any] = {"endpoint_sessions_max": 1, "half_close_ms": 0} | keys
    return with_pool(snapshot_of([one.address for one in endpoints], **options), **of_pool)


class Line:
    """People who queue: each says its number, so that the endpoint knows whom it serves."""

    def __init__(self, scene: Scene, board: Board) -> None:
        self._scene, self._board = scene, board
        self.clients: list[socket.socket] = []

    def join(self, *addresses: tuple[str, int]) -> None:
        """One after the other: each is in the queue before the next comes."""
        for address in addresses:
            waiting = self._board.pool(0).queued
            self.knock(address)
            self.wait_for(waiting + 1)

    def knock(self, address: tuple[str, int]) -> None:
        client = self._scene.client(address)
        client.sendall(b"%04d" % len(self.clients))
        self.clients.append(client)

    def wait_for(self, queued: int) -> None:
        eventually(
            lambda: self._board.pool(0).queued == queued, within_s=10, reason=f"{queued} wait", every_s=0.001
        )


class Desk:
    """An endpoint that serves one at a time."""

    def __init__(self, scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
        self._scene, self._endpoint = scene, endpoint
        self.client, self.present = scene.session(bench, endpoint)

    def serve(self, count: int = 1) -> list[int]:
        """Ends the present session, and each that follows but the last; gives whom it served, in order."""
        return [self._next() for _ in range(count)]

    def _next(self) -> int:
        self.present.close()
        self.present = self._scene.enter(self._endpoint.accept())
        return int(read_exactly(self.present, 4))


# ---- One worker ----


def test_session_waits_while_every_endpoint_is_full_and_is_served_when_one_has_room(scene: Scene) -> None:
    endpoints = [scene.endpoint(), scene.endpoint()]
    bench = scene.bench(queueing(*endpoints))
    [scene.client(bench.address) for _ in endpoints]
    present = [scene.enter(endpoint.accept()) for endpoint in endpoints]
    line = Line(scene, bench.board)
    line.join(bench.address)
    counts = bench.board.pool(0)
    assert (counts.queued, counts.queued_total, counts.sessions_open) == (1, 1, 2)
    assert bench.board.listener(0).sessions_open == 3
    present[1].close()
    assert read_exactly(scene.enter(endpoints[1].accept()), 4) == b"0000"
    assert (bench.board.pool(0).queued, bench.board.pool(0).queued_total) == (0, 1)


def test_record_of_a_session_that_waited_says_how_long(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(queueing(endpoint))
    desk = Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(bench.address)
    throughout(lambda: bench.board.pool(0).queued == 1, for_s=0.1, reason="it waits")
    desk.serve()
    scene.sockets.close()
    first, second = sorted(scene.records(bench, 2), key=lambda record: record["queue_ms"])
    assert (first["queue_ms"], second["attempts"][0]["result"]) == (0, "connected")
    assert 99 <= second["queue_ms"] < second["duration_ms"]


def test_queue_that_is_full_refuses_as_the_listener_says(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(with_listener(queueing(endpoint, queue_max=2), refuse_by=RefuseBy.CLOSE))
    desk = Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(bench.address, bench.address)
    assert read_to_end(scene.client(bench.address)) == (b"", FIN)
    assert bench.board.listener(0).refused["refused_limit"] == 1
    assert desk.serve(2) == [0, 1]


def test_pool_without_a_queue_refuses_at_once(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(queueing(endpoint, queue_max=0))
    Desk(scene, bench, endpoint)
    assert scene.is_reset(bench.address)
    assert bench.board.listener(0).refused["refused_limit"] == 1


def test_session_that_waits_too_long_is_refused(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(queueing(endpoint, queue_timeout_ms=150))
    Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(bench.address)
    assert read_to_end(line.clients[0]) == (b"", RESET)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("queue_timeout", "lb", [])
    assert 149 <= record["queue_ms"] <= record["duration_ms"]
    assert bench.board.listener(0).refused["queue_timeout"] == 1
    assert bench.board.pool(0).queued == 0


def test_client_that_resets_while_it_waits_frees_its_place(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(queueing(endpoint, queue_max=2))
    desk = Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(bench.address, bench.address)
    reset(line.clients[0])
    line.wait_for(1)
    assert scene.record(bench)["reason"] == "client_reset"
    line.join(bench.address)
    assert desk.serve(2) == [1, 2]


def test_client_that_half_closes_while_it_waits_is_served(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(queueing(endpoint, half_close_ms=10_000))
    desk = Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(bench.address)
    line.clients[0].shutdown(socket.SHUT_WR)
    throughout(lambda: bench.board.pool(0).queued == 1, for_s=0.05, reason="it stays")
    desk.client.close()
    desk.present.close()
    server = scene.enter(endpoint.accept())
    assert read_to_end(server) == (b"0000", FIN)
    server.sendall(b"answer")
    assert read_exactly(line.clients[0], 6) == b"answer"


def test_waiting_sessions_end_at_once_when_no_endpoint_is_eligible_any_more(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.bench(queueing(endpoint))
    Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(*[bench.address] * 80)
    bench.call(bench.publish, queueing(endpoint, generation=2, eligible=[]))
    assert [read_to_end(client) for client in line.clients] == [(b"", RESET)] * 80
    assert {record["reason"] for record in scene.records(bench, 80)} == {"no_endpoint"}


def test_waiting_session_is_served_by_an_endpoint_that_comes_up(scene: Scene) -> None:
    endpoint, other = scene.endpoint(), scene.endpoint()
    bench = scene.bench(queueing(endpoint, other, eligible=[0]))
    Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(bench.address)
    bench.call(bench.publish, queueing(endpoint, other, generation=2))
    assert read_exactly(scene.enter(other.accept()), 4) == b"0000"


def test_waiting_session_goes_where_a_reload_sends_its_listener(scene: Scene) -> None:
    endpoint, other = scene.endpoint(), scene.endpoint()
    before = queueing(endpoint, other, eligible=[0])
    [pool] = before.pools
    assert pool is not None
    away = with_pool(before, eligible=(1,), schedule=(1,)).pools[0]
    bench = scene.bench(before)
    Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(bench.address, bench.address)
    after = Snapshot(2, before.listeners, (pool, away), before.endpoints)
    bench.call(bench.publish, with_listener(after, pool=1))
    assert read_exactly(scene.enter(other.accept()), 4) == b"0000"
    eventually(lambda: bench.board.pool(1).queued == 1, within_s=5, reason="the second waits there")
    assert bench.board.pool(0).queued == 0


def test_session_that_tried_the_endpoint_with_room_waits_in_front_and_holds_up_nobody(scene: Scene) -> None:
    endpoint, failing = scene.endpoint(), scene.endpoint()
    bench = scene.bench(queueing(failing, endpoint))
    other = scene.session(bench, failing)[1]
    desk = Desk(scene, bench, endpoint)
    line = Line(scene, bench.board)
    line.join(*[bench.address] * 4)
    failing.close()
    other.close()
    eventually(
        lambda: bench.board.endpoint(0).connect_failures["refused"] == 4, within_s=5, reason="all tried it"
    )
    line.wait_for(4)
    assert bench.board.pool(0).queued_total == 4
    with socket.create_server(failing.address) as again:
        line.knock(bench.address)
        again.settimeout(10)
        served, _ = again.accept()
        assert read_exactly(scene.enter(served), 4) == b"0004"
    assert desk.serve(4) == [0, 1, 2, 3]


# ---- Two workers ----


@pytest.fixture
def pair(scene: Scene) -> tuple[ScriptedEndpoint, list[EngineBench]]:
    endpoint, board = scene.endpoint(), Board.create(2)
    return endpoint, [scene.bench(queueing(endpoint), board=board, worker=index) for index in (0, 1)]


def test_queue_over_two_workers_is_served_in_the_order_of_arrival(
    scene: Scene, pair: tuple[ScriptedEndpoint, list[EngineBench]]
) -> None:
    endpoint, benches = pair
    desk = Desk(scene, benches[0], endpoint)
    line = Line(scene, benches[0].board)
    # Runs of one worker and turns between both; a fixed order, in no pattern.
    order = [0, 1, 1, 0, 0, 0, 1, 0, 1, 1, 1, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 1, 0]
    line.join(*[benches[worker].address for worker in order])
    assert desk.serve(len(order)) == list(range(len(order)))


def test_new_session_does_not_overtake_one_that_waits_in_another_worker(
    scene: Scene, pair: tuple[ScriptedEndpoint, list[EngineBench]]
) -> None:
    """Room is made in worker 0 again and again, and each time a client comes to it who would fit."""
    endpoint, benches = pair
    desk = Desk(scene, benches[0], endpoint)
    line = Line(scene, benches[0].board)
    for number in range(0, 40, 2):
        line.join(benches[1].address)
        desk.present.close()
        line.knock(benches[0].address)
        assert desk.serve(2) == [number, number + 1]


def test_queue_is_bounded_over_all_workers(scene: Scene) -> None:
    endpoint, board = scene.endpoint(), Board.create(2)
    benches = [scene.bench(queueing(endpoint, queue_max=3), board=board, worker=index) for index in (0, 1)]
    desk = Desk(scene, benches[0], endpoint)
    line = Line(scene, board)
    line.join(benches[0].address, benches[1].address, benches[1].address)
    assert [scene.is_reset(bench.address) for bench in benches] == [True, True]
    assert desk.serve(3) == [0, 1, 2]


def test_worker_that_is_stopped_is_passed_over_and_has_its_turn_when_it_goes_on(scene: Scene) -> None:
    endpoint, board = scene.endpoint(), Board.create(2)
    bench = scene.bench(queueing(endpoint), board=board, worker=0)
    stopped = scene.bench(queueing(endpoint), board=board, worker=1, started=False)
    desk = Desk(scene, bench, endpoint)
    line = Line(scene, board)
    first = scene.client(stopped.address)
    first.sendall(b"0000")
    line.clients.append(first)
    stopped.turn_until(lambda: board.pool(0).queued == 1)
    line.join(bench.address)
    assert desk.serve() == [1]
    desk.present.close()
    stopped.start()
    assert read_exactly(scene.enter(endpoint.accept()), 4) == b"0000"


@pytest.fixture
def workers() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_worker_that_died_leaves_nobody_in_the_queue(scene: Scene, workers: ExitStack) -> None:
    endpoint, board = scene.endpoint(), Board.create(2)
    bench = scene.bench(queueing(endpoint), board=board, worker=0)
    dying = WorkerBench(board, worker=1)
    workers.callback(dying.close)
    address = dying.serve(queueing(endpoint))
    desk = Desk(scene, bench, endpoint)
    line = Line(scene, board)
    line.join(address, bench.address)
    os.kill(dying.process.pid, signal.SIGKILL)
    dying.process.wait(10)
    board.forget_worker(1)
    assert board.pool(0).queued == 1
    assert desk.serve() == [1]
