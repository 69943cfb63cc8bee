"""Slots that change hands fast: an event meant for the one before must not touch the one after."""

from __future__ import annotations

import random
import select
import socket
from typing import TYPE_CHECKING

import pytest

from lb.shell.datapath import MORE
from tests.support.scripted_endpoint import FIN, RESET, read_exactly, read_to_end, reset
from tests.support.streams import InThread
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

CLIENTS = 8
SESSIONS_EACH = 150


def converse(address: tuple[str, int], seed: int) -> None:
    """Short sessions, each with its own words, ended in every way there is."""
    draw = random.Random(seed)
    for number in range(SESSIONS_EACH):
        with socket.create_connection(address, timeout=10) as client:
            words = b"%d:%d:" % (seed, number) + b"x" * draw.choice((0, 10, 40_000))
            client.sendall(words)
            way = draw.randrange(4)
            if way == 0:
                reset(client)
            elif way == 1:
                client.shutdown(socket.SHUT_WR)
                assert read_to_end(client) == (words, FIN), f"seed {seed}, session {number}"
            else:
                assert read_exactly(client, len(words)) == words, f"seed {seed}, session {number}"


@pytest.mark.parametrize("seed", range(3))
def test_sessions_that_come_and_go_fast_never_hear_each_other(scene: Scene, seed: int) -> None:
    """With few slots, each is used hundreds of times, often within one batch of events."""
    endpoint = scene.endpoint().echo()
    bench = scene.relay(endpoint, slots=CLIENTS, log=False)
    work = [InThread(converse, bench.address, 100 * seed + number) for number in range(CLIENTS)]
    for one in work:
        one.result(60)
    eventually(
        lambda: bench.board.listener(0).sessions_total == CLIENTS * SESSIONS_EACH,
        within_s=5,
        reason="all were accepted, also those that were reset before",
    )
    scene.empty(bench)
    closed = bench.board.listener(0).closed
    assert sum(closed.values()) == CLIENTS * SESSIONS_EACH
    assert {reason for reason, count in closed.items() if count} <= {"done", "client_reset", "endpoint_reset"}


def test_slot_used_again_within_one_batch_ignores_its_former_users_event(scene: Scene) -> None:
    """One batch: an end that frees a slot, a new client that gets it, and the freed session's other event."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, slots=4, started=False)
    client = scene.client(bench.address)
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == 1)
    server = scene.enter(endpoint.accept())
    for number in range(50):
        reset(client)
        client = scene.client(bench.address)
        if number % 2:
            reset(server)
        else:
            server.close()
        bench.turn_until(lambda n=number: bench.board.endpoint(0).sessions_total == n + 2)
        server = scene.enter(endpoint.accept())
        assert bench.engine.sessions_open == 1
        # A stale end of stream would be believed at the first short read.
        for giver, taker in ((client, server), (server, client)) * 2:
            giver.sendall(b"%04d" % number)
            bench.turn_until(lambda n=number, t=taker: is_there(t, 4))
            assert read_exactly(taker, 4) == b"%04d" % number
    assert bench.board.listener(0).sessions_total == 51
    assert bench.engine.held()["slots"] == 1


def is_there(connection: socket.socket, size: int) -> bool:
    return (
        bool(select.select([connection], [], [], 0)[0])
        and len(connection.recv(size, socket.MSG_PEEK)) == size
    )


def test_session_ended_while_it_waits_on_the_ready_list_gives_its_slot_back_once(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, slots=2, started=False)
    for _ in range(5):
        client = scene.client(bench.address)
        bench.turn_until(
            lambda: bench.engine.sessions_open == 1 and bench.board.sessions_open_by_endpoint() == {0: 1}
        )
        server = scene.enter(endpoint.accept())
        client.setblocking(False)
        for _ in range(400):
            try:
                client.send(bytes(65_536))
            except BlockingIOError:
                if bench.engine.step() & MORE:
                    break
                server.setblocking(False)
                try:
                    server.recv(1 << 20)
                except BlockingIOError:
                    continue
        else:
            pytest.fail("it was never stopped by its turn")
        assert bench.engine.close_some(0, -1, "operator", 0) == -1
        assert bench.engine.sessions_open == 0
        bench.turn_until(bench.is_empty)
        assert read_to_end(server)[1] == RESET
    assert bench.board.listener(0).closed["operator"] == 5
