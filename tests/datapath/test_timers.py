"""Deadlines of sessions, and the timer that wakes an engine with nothing else to do."""

from __future__ import annotations

import select
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from lb.shell.datapath import MORE
from tests.support.scripted_endpoint import FIN, RESET, read_exactly, read_to_end, reset
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

LATE_S_MAX = (
    2.0  # a busy machine's allowance; early is never allowed, but for the millisecond a deadline counts in
)


def lived_s(record: dict) -> float:
    return record["duration_ms"] / 1000 + 0.002


@pytest.mark.parametrize("by", ["client", "endpoint"])
def test_idle_session_ends_after_idle_timeout(scene: Scene, by: str) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=250, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    giver, taker = (client, server) if by == "client" else (server, client)
    giver.sendall(b"once")
    assert read_exactly(taker, 4) == b"once"
    assert read_to_end(client) == (b"", FIN)
    assert read_to_end(server) == (b"", RESET)  # it spares a port; everything was acknowledged
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("idle_timeout", "lb")
    assert 0.25 <= lived_s(record) < 0.25 + LATE_S_MAX


@pytest.mark.parametrize("by", ["client", "endpoint"])
def test_idle_timeout_is_moved_by_bytes_of_either_direction(scene: Scene, by: str) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=300, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    giver, taker = (client, server) if by == "client" else (server, client)

    def a_byte_goes() -> bool:
        giver.sendall(b"x")
        return read_exactly(taker, 1) == b"x"

    start_s = time.monotonic()
    throughout(a_byte_goes, for_s=0.8, reason="it lives while bytes move", every_s=0.05)
    active_s = time.monotonic() - start_s
    record = scene.record(bench)
    assert record["reason"] == "idle_timeout"
    assert active_s + 0.2 < lived_s(record) < active_s + 0.3 + LATE_S_MAX


def test_idle_timeout_with_bytes_for_a_reader_that_stopped_resets(scene: Scene) -> None:
    """An end of stream would say that these were all."""
    endpoint = scene.endpoint(receive_bytes=4096)
    bench = scene.relay(endpoint, idle_ms=200, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(64 << 20))
    assert scene.record(bench)["reason"] == "idle_timeout"
    assert read_to_end(server)[1] == RESET


def test_idle_0_is_no_timeout(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=0, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    throughout(lambda: bench.engine.sessions_open == 1, for_s=0.3, reason="it lives")
    client.sendall(b"x")
    assert read_exactly(server, 1) == b"x"


def test_half_closed_session_ends_after_half_close_timeout(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=0, half_close_ms=250, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (b"", FIN)
    assert read_to_end(client) == (b"", FIN)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("half_close_timeout", "lb")
    assert 0.25 <= lived_s(record) < 0.25 + LATE_S_MAX


def test_half_close_timeout_counts_from_the_end_of_stream_not_from_the_last_byte(scene: Scene) -> None:
    """Quiet for long, then a question with an end: the answer has all of half_close for itself."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=600, half_close_ms=400, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    throughout(lambda: bench.engine.sessions_open == 1, for_s=0.5, reason="it is quiet, and lives")
    client.shutdown(socket.SHUT_WR)
    start_s = time.monotonic()
    assert read_to_end(server) == (b"", FIN)
    assert read_to_end(client) == (b"", FIN)
    assert 0.39 < time.monotonic() - start_s < 0.4 + LATE_S_MAX
    assert scene.record(bench)["reason"] == "half_close_timeout"


def test_half_close_timeout_is_moved_by_bytes(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, half_close_ms=250, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    client.shutdown(socket.SHUT_WR)

    def a_byte_goes() -> bool:
        server.sendall(b"x")
        return read_exactly(client, 1) == b"x"

    throughout(a_byte_goes, for_s=0.6, reason="it lives while bytes move", every_s=0.05)
    assert scene.record(bench)["reason"] == "half_close_timeout"


# ---- Age ----


@pytest.mark.parametrize("busy", [False, True])
def test_session_ends_at_its_age_busy_or_not(scene: Scene, busy: bool) -> None:
    endpoint = scene.endpoint().echo() if busy else scene.endpoint()
    bench = scene.relay(endpoint, age_max_ms=600, connect_timeout_ms=50)
    client = scene.client(bench.address)

    def has_ended() -> bool:
        if busy:
            try:
                client.sendall(b"x")
                assert client.recv(1), "an end of stream amid a transfer says that it is complete"
            except ConnectionError:
                return True
        return bench.engine.sessions_open == 0

    eventually(lambda: bench.engine.sessions_open, within_s=5, reason="it began")
    eventually(has_ended, within_s=0.6 + LATE_S_MAX, reason="its age is reached", every_s=0.01)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == ("lifetime", "lb")
    assert 0.54 <= lived_s(record) < 0.6 + LATE_S_MAX


def test_session_that_rests_at_its_age_ends_with_an_end_of_stream(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, age_max_ms=1800, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    server.sendall(b"all of it")
    assert read_to_end(client) == (b"all of it", FIN)
    assert scene.record(bench)["reason"] == "lifetime"


def test_age_is_shortened_by_lot_by_a_tenth_at_most(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, age_max_ms=1000, connect_timeout_ms=50)
    for _ in range(60):
        scene.client(bench.address)
    lived = sorted(lived_s(record) for record in scene.records(bench, 60))
    assert lived[0] >= 0.9
    assert lived[-1] - lived[0] > 0.04, "one chance in 10^13 for lots"


def test_age_with_bytes_for_a_reader_that_stopped_resets(scene: Scene) -> None:
    endpoint = scene.endpoint(receive_bytes=4096)
    bench = scene.relay(endpoint, age_max_ms=700, connect_timeout_ms=50)
    client, server = scene.session(bench, endpoint)
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(64 << 20))
    assert scene.record(bench)["reason"] == "lifetime"
    assert read_to_end(server)[1] == RESET


def test_age_ends_before_idle_and_idle_before_age(scene: Scene) -> None:
    endpoint = scene.endpoint()
    for age_ms, idle_ms, reason in ((300, 60_000, "lifetime"), (60_000, 300, "idle_timeout")):
        bench = scene.relay(endpoint, age_max_ms=age_ms, idle_ms=idle_ms, connect_timeout_ms=50)
        scene.client(bench.address)
        assert scene.record(bench)["reason"] == reason


# ---- Many, and the timer ----


def test_many_sessions_that_expire_at_once_all_end(scene: Scene) -> None:
    """More than a turn's bound of expiries: step() says MORE until all are done."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=200, connect_timeout_ms=50, started=False)
    for _ in range(300):
        scene.client(bench.address)
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == 300)
    assert not select.select([], [], [], 0.3)[0]  # all are overdue now
    bench.turn_until(lambda: bench.engine.sessions_open == 0)
    assert any(found & MORE for found in bench.findings)
    assert {record["reason"] for record in scene.records(bench, 300)} == {"idle_timeout"}


def test_engine_with_nothing_to_do_is_woken_by_its_own_timer(scene: Scene) -> None:
    """Nobody steps it until its descriptor says so, and the session ends in time."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, idle_ms=300, connect_timeout_ms=50, started=False)
    client = scene.client(bench.address)
    start_s = time.monotonic()
    steps = 0
    while bench.engine.sessions_open or not steps:
        assert select.select([bench.engine.fileno()], [], [], 5)[0], "its timer is not armed"
        bench.engine.step()
        steps += 1
    assert 0.29 < time.monotonic() - start_s < 0.3 + LATE_S_MAX
    assert steps < 20, f"{steps} wake-ups for one deadline"
    assert read_to_end(client) == (b"", FIN)


def test_reset_behind_a_reader_that_stopped_waits_for_reset_linger_with_few_turns(scene: Scene) -> None:
    """Once until it is seen that nothing moves, once for what was kept; polled at 1 ms, doubling to 100."""
    endpoint = scene.endpoint(receive_bytes=4096)
    bench = scene.relay(endpoint, reset_linger_ms=400, connect_timeout_ms=60_000)
    client, server = scene.session(bench, endpoint)
    client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        client.sendall(bytes(64 << 20))
    before = bench.board.worker(0).steps_total
    reset(client)
    start_s = time.monotonic()
    record = scene.record(bench)
    assert record["reason"] == "client_reset"
    assert 0.39 < time.monotonic() - start_s < 0.8 + LATE_S_MAX
    assert bench.board.worker(0).steps_total - before < 40
    assert read_to_end(server)[1] == RESET


def test_connect_deadline_after_a_stall_is_judged_after_the_events(scene: Scene) -> None:
    """A worker that was stopped longer than the connect timeout charged live endpoints with timeouts: it met
    deadlines after the first 64 events, and the rest of the connects had long succeeded."""
    endpoint = scene.endpoint(backlog=0)
    count, timeout_ms = 200, 1500
    bench = scene.relay(endpoint, started=False, connect_timeout_ms=timeout_ms, attempts_max=1)
    clients = [scene.client(bench.address) for _ in range(count)]
    bench.turn_until(lambda: bench.engine.sessions_open == count)
    endpoint.set_backlog(1024)  # what was dropped is sent once more 1 s after the first time, and finds room
    threading.Event().wait(1.2 * timeout_ms / 1000)  # the stall, in which every deadline passes
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == count)
    assert bench.board.endpoint(0).connect_failures["timeout"] == 0
    for client in clients:
        client.close()
    for _ in range(count):
        scene.enter(endpoint.accept()).close()
    bench.turn_until(bench.is_empty)
