"""The worker process: orders over the channel, and the ways it ends."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from lb.shell.control import Channel
from lb.shell.datapath import LAYOUT, Board
from lb.worker import Worker
from tests.support.engine_bench import snapshot_of
from tests.support.scripted_endpoint import FIN, RESET, ScriptedEndpoint, read_exactly, read_to_end, reset
from tests.support.waiting import eventually, seconds_until, throughout
from tests.support.worker_bench import WorkerBench

if TYPE_CHECKING:
    from conftest import Scene

EXIT_LAYOUT = 70


class Workers:
    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.made: list[WorkerBench] = []

    def __call__(self, **start: Any) -> WorkerBench:
        self.made.append(WorkerBench(**start))
        return self.made[-1]

    def session(
        self, address: tuple[str, int], endpoint: ScriptedEndpoint
    ) -> tuple[socket.socket, socket.socket]:
        return self.scene.client(address), self.scene.enter(endpoint.accept())


@pytest.fixture
def workers(scene: Scene) -> Iterator[Workers]:
    made = Workers(scene)
    yield made
    for worker in made.made:
        worker.close()


def is_closed(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=5).close()
    except ConnectionError:
        return True
    return False


def reasons(worker: WorkerBench) -> list[str]:
    return [json.loads(line)["reason"] for line in worker.ring.map.take().splitlines()]


# ---- Orders ----


def test_worker_that_is_started_says_who_it_is(workers: Workers) -> None:
    worker = workers().start()
    assert worker.answer("started") == {"type": "started", "pid": worker.process.pid, "layout": LAYOUT}


def test_worker_that_listens_serves(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    client, server = workers.session(worker.serve(snapshot_of([endpoint.address])), endpoint)
    client.sendall(b"ping")
    assert read_exactly(server, 4) == b"ping"
    server.sendall(b"pong")
    server.close()
    assert read_to_end(client) == (b"pong", FIN)
    client.close()
    eventually(lambda: worker.board.listener(0).closed["done"] == 1, within_s=5, reason="the session ended")
    eventually(lambda: reasons(worker) == ["done"], within_s=5, reason="its record")


def test_worker_that_is_started_beats(workers: Workers) -> None:
    worker = workers().start()
    worker.answer("started")
    seen = {worker.board.worker(0).heartbeat_ns}
    eventually(
        lambda: seen.add(worker.board.worker(0).heartbeat_ns) or len(seen) >= 3,
        within_s=5,
        reason="three beats",
    )
    assert sum(worker.board.worker(0).loop_lag_seconds.counts) >= 2


def test_worker_that_unlistens_accepts_no_more_and_keeps_its_sessions(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    address = worker.serve(snapshot_of([endpoint.address]))
    client, server = workers.session(address, endpoint)
    worker.tell({"type": "unlisten", "sockets": [7]})
    assert worker.answer("unlistened")["sockets"] == [7]
    assert is_closed(address), "nobody else holds the listening socket"
    client.sendall(b"on")
    assert read_exactly(server, 2) == b"on"


def test_worker_told_to_unlisten_what_it_never_had_answers_all_the_same(workers: Workers) -> None:
    worker = workers().start()
    worker.tell({"type": "unlisten", "sockets": [99]})
    assert worker.answer("unlistened")["sockets"] == [99]


def test_worker_told_to_close_an_endpoint_cuts_its_sessions_and_no_others(
    scene: Scene, workers: Workers
) -> None:
    one, two = scene.endpoint(), scene.endpoint()
    worker = workers()
    address = worker.serve(snapshot_of([one.address, two.address]))
    first, _ = workers.session(address, one)
    second, server = workers.session(address, two)
    worker.tell({"type": "close", "reason": "endpoint_down", "endpoint": 0})
    assert read_to_end(first) == (b"", RESET)
    second.sendall(b"on")
    assert read_exactly(server, 2) == b"on"
    assert worker.board.listener(0).closed["endpoint_down"] == 1


def test_worker_told_to_close_a_listener_cuts_its_sessions(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    address = worker.serve(snapshot_of([endpoint.address]))
    clients = [workers.session(address, endpoint)[0] for _ in range(5)]
    worker.tell({"type": "close", "reason": "operator", "listener": 0})
    assert [read_to_end(client)[1] for client in clients] == [RESET] * 5
    eventually(lambda: worker.board.worker(0).sessions_open == 0, within_s=5, reason="all are gone")
    assert worker.board.listener(0).closed["operator"] == 5


def test_worker_tells_of_failed_connects(scene: Scene, workers: Workers) -> None:
    refusing, endpoint = scene.endpoint(), scene.endpoint()
    refusing.close()
    worker = workers()
    address = worker.serve(snapshot_of([refusing.address, endpoint.address], eligible=[0, 0, 0, 1]))
    workers.session(address, endpoint)
    assert worker.answer("failures")["endpoints"] == {"0": {"refused": 1, "in_row": 1}}
    assert worker.board.endpoint(0).connect_failures["refused"] == 1


def test_worker_that_gets_a_damaged_snapshot_refuses_and_serves_on(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    address = worker.serve(snapshot_of([endpoint.address]))
    fd = os.memfd_create("nonsense")
    worker.tell({"type": "publish", "generation": 2}, fd)
    os.close(fd)
    refused = worker.answer("refused")
    assert (refused["generation"], "not sealed" in refused["why"]) == (2, True)
    workers.session(address, endpoint)


def test_worker_under_a_greedy_stream_answers_orders_at_once(scene: Scene, workers: Workers) -> None:
    """Its turns are bounded, however many of them the stream asks for."""
    endpoint = scene.endpoint().echo()
    worker = workers()
    address = worker.serve(snapshot_of([endpoint.address]))
    with closing(GreedyClient(scene.client(address))) as greedy:
        eventually(lambda: greedy.moved_bytes > 300_000_000, within_s=30, reason="the stream flows")
        took_s = seconds_until(
            lambda: worker.publish(snapshot_of([endpoint.address], generation=2)) is None,
            within_s=5,
            reason="answered",
        )
    assert took_s < 0.25, f"{took_s:.3f} s until it answered"


class GreedyClient:
    """Sends and reads in threads, as fast as it goes, until it is closed."""

    def __init__(self, client: socket.socket) -> None:
        import threading

        self.moved_bytes = 0
        self._client = client
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._send, self._read)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        data = bytes(1 << 20)
        try:
            while True:
                self._client.sendall(data)
        except OSError:
            return  # closed

    def _read(self) -> None:
        space = bytearray(1 << 20)
        try:
            while size := self._client.recv_into(space):
                self.moved_bytes += size
        except OSError:
            return  # closed

    def close(self) -> None:
        self._client.shutdown(socket.SHUT_RDWR)
        reset(self._client)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


async def test_worker_whose_supervisor_reads_nothing_adds_failures_up() -> None:
    """Defect: 11 s of failing connects under a stopped supervisor filled the channel, and cost the worker."""

    class Failing:
        failed = 0

        def take_failures(self) -> dict[int, dict[str, int]]:
            failed, self.failed = self.failed, 0
            return {number: {"refused": failed} for number in range(5000)} if failed else {}

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel, supervisor = Channel(ours), Channel(theirs)
    worker, failing = Worker(channel), Failing()
    worker._engine = failing  # type: ignore[assignment]
    for _ in range(1000):
        failing.failed += 1
        worker._tell_failures()
    assert channel.fileno() != -1
    heard = 0
    async with asyncio.timeout(5):
        while heard < 1000:
            for message, _ in supervisor.receive():
                heard += message["endpoints"].get("4999", {}).get("refused", 0)
            worker._due.run()
            await asyncio.sleep(0.001)
    assert heard == 1000
    worker._engine = None
    supervisor.close()
    assert await worker.ended == 0
    worker.close()


# ---- Ends ----


@pytest.mark.parametrize(
    "number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2]
)
def test_worker_ignores_signals_meant_for_the_group(workers: Workers, number: int) -> None:
    worker = workers().start()
    worker.answer("started")
    worker.process.send_signal(number)
    throughout(worker.runs, for_s=0.15, reason="it goes on")
    worker.tell({"type": "unlisten", "sockets": [1]})
    worker.answer("unlistened")


def test_worker_told_to_stop_ends_all_and_exits_0(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    client, server = workers.session(worker.serve(snapshot_of([endpoint.address])), endpoint)
    worker.tell({"type": "stop"})
    assert read_to_end(client) == (b"", RESET)
    assert read_to_end(server) == (b"", RESET)
    assert worker.ended() == (0, "")
    assert reasons(worker) == ["shutdown"]
    assert worker.board.worker(0).sessions_open == 0


@pytest.mark.parametrize("order", [{"type": "stop"}, {"type": "drain", "deadline_s": 0.0}])
def test_worker_that_ends_in_the_middle_of_streams_exits_0(
    scene: Scene, workers: Workers, order: dict[str, Any]
) -> None:
    """Turns that were asked for before the end come after it."""
    endpoint = scene.endpoint().echo()
    worker = workers()
    address = worker.serve(snapshot_of([endpoint.address]))
    greedy = [GreedyClient(scene.client(address)) for _ in range(2)]
    eventually(lambda: all(one.moved_bytes > 10_000_000 for one in greedy), within_s=20, reason="they flow")
    worker.tell(order)
    assert worker.ended() == (0, "")


def test_worker_of_another_layout_exits_70(workers: Workers) -> None:
    code, said = workers(layout=LAYOUT + 1).start().ended()
    assert (code, f"{LAYOUT + 1}" in said) == (EXIT_LAYOUT, True)


def test_worker_given_what_is_no_scoreboard_exits_70(workers: Workers) -> None:
    worker = workers()
    os.ftruncate(worker.board.fd, 4096)
    code, said = worker.start().ended()
    assert (code, "scoreboard" in said) == (EXIT_LAYOUT, True)


@pytest.mark.parametrize("started", [False, True])
def test_worker_that_gets_an_order_it_does_not_know_exits_70(workers: Workers, started: bool) -> None:
    worker = workers()
    if started:
        worker.start().answer("started")
    worker.tell({"type": "levitate"})
    code, said = worker.ended()
    assert (code, "levitate" in said) == (EXIT_LAYOUT, True)


def test_worker_without_sessions_told_to_drain_says_so_and_exits_0(workers: Workers) -> None:
    worker = workers()
    address = worker.serve(snapshot_of([]))
    worker.tell({"type": "drain", "deadline_s": 30.0})
    assert worker.answer("drained")["cut"] == 0
    assert worker.ended() == (0, "")
    assert is_closed(address)


def test_worker_told_to_drain_ends_with_its_last_session(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    address = worker.serve(snapshot_of([endpoint.address]))
    client, server = workers.session(address, endpoint)
    worker.tell({"type": "drain", "deadline_s": 30.0})
    worker.tell({"type": "unlisten", "sockets": [7]})
    worker.answer("unlistened")  # orders are followed in turn
    assert is_closed(address)
    client.sendall(b"still")
    assert read_exactly(server, 5) == b"still"
    assert worker.runs()
    client.close()
    server.close()
    assert worker.answer("drained")["cut"] == 0
    assert worker.ended() == (0, "")
    assert reasons(worker) == ["done"]


def test_worker_told_to_drain_cuts_at_the_deadline(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    address = worker.serve(snapshot_of([endpoint.address]))
    clients = [workers.session(address, endpoint)[0] for _ in range(3)]
    worker.tell({"type": "drain", "deadline_s": 0.2})
    assert worker.answer("drained")["cut"] == 3
    assert [read_to_end(client)[1] for client in clients] == [RESET] * 3
    assert worker.ended() == (0, "")
    assert reasons(worker) == ["shutdown"] * 3


def test_worker_whose_supervisor_is_gone_serves_on_and_then_drains(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers(orphan_s=0.5, drain_s=0.2)
    address = worker.serve(snapshot_of([endpoint.address]))
    worker.channel.close()
    client, server = workers.session(address, endpoint)
    client.sendall(b"orphan")
    assert read_exactly(server, 6) == b"orphan"
    assert worker.ended() == (0, "")
    assert reasons(worker) == ["shutdown"]


def test_worker_whose_supervisor_is_gone_before_the_start_exits_0(workers: Workers) -> None:
    worker = workers()
    worker.channel.close()
    assert worker.ended() == (0, "")


def test_worker_that_tells_a_supervisor_that_is_gone_serves_on(scene: Scene, workers: Workers) -> None:
    """A failed connect is a message that nobody takes."""
    refusing, endpoint = scene.endpoint(), scene.endpoint()
    refusing.close()
    worker = workers(orphan_s=30.0)
    address = worker.serve(snapshot_of([refusing.address, endpoint.address]))
    worker.channel.close()
    for _ in range(4):
        workers.session(address, endpoint)
    assert worker.runs()


def test_worker_serves_the_other_sockets_when_it_cannot_take_one(scene: Scene, workers: Workers) -> None:
    endpoint = scene.endpoint()
    worker = workers()
    worker.serve(snapshot_of([endpoint.address]))
    with socket.create_server(("127.0.0.1", 0)) as listening, tempfile.TemporaryFile() as no_socket:
        listening.setblocking(False)
        worker.tell(
            {"type": "listen", "listeners": [0, 0], "sockets": [8, 9]},
            no_socket.fileno(),
            listening.fileno(),
        )
        answer = worker.answer("listening")
        assert (answer["sockets"], answer["first"]) == ([9], 8)
        assert "Operation not permitted" in answer["why"]
        workers.session(listening.getsockname(), endpoint)
    assert worker.runs()


# ---- Death ----


def test_worker_that_is_killed_leaves_counters_and_its_gauges_are_taken_back(
    scene: Scene, workers: Workers
) -> None:
    endpoint = scene.endpoint()
    board = Board.create(2)
    worker = workers(board=board, worker=1)
    address = worker.serve(snapshot_of([endpoint.address]))
    ended, server = workers.session(address, endpoint)
    ended.sendall(b"counted")
    assert read_exactly(server, 7) == b"counted"
    ended.close()
    server.close()
    eventually(lambda: board.listener(0).closed["done"] == 1, within_s=5, reason="one session ended")
    for _ in range(3):
        workers.session(address, endpoint)
    eventually(lambda: board.sessions_open_by_endpoint() == {0: 3}, within_s=5, reason="three are open")
    worker.process.kill()
    worker.process.wait(5)
    assert (board.worker(1).sessions_open, board.sessions_open_by_listener()) == (3, {0: 3})
    board.forget_worker(1)
    assert (board.worker(1).sessions_open, board.worker(1).heartbeat_ns) == (0, 0)
    assert (board.sessions_open_by_endpoint(), board.sessions_open_by_listener()) == ({}, {})
    assert board.endpoint(0).bytes_in == 7
    closed = {reason: count for reason, count in board.listener(0).closed.items() if count}
    assert (board.listener(0).sessions_total, closed) == (4, {"done": 1, "worker_lost": 3})
