"""Peers that answer no more are noticed within user_timeout; peers that live and do not read are left alone.

Each test runs a session whose client is lost and one whose endpoint is, side by side.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.engine_bench import EngineBench
from tests.support.scripted_endpoint import RESET, read_exactly, read_to_end
from tests.support.streams import InThread
from tests.support.vanishing import come_back, vanish
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

USER_TIMEOUT_S = 2.0
SMALL_BUFFER = 4096
LATE_S_MAX = 5.0  # probes of a second, and a busy machine's allowance


class Trial(NamedTuple):
    """One session, and who of the two is to vanish."""

    by: str
    bench: EngineBench
    lost: socket.socket
    other: socket.socket

    def is_open(self) -> bool:
        return self.bench.engine.sessions_open == 1


def trials(scene: Scene, **options: Any) -> list[Trial]:
    """With small windows."""
    options = {"user_timeout_ms": int(1000 * USER_TIMEOUT_S), "connect_timeout_ms": 50} | options
    made = []
    for by in ("client", "endpoint"):
        endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
        bench = scene.relay(endpoint, **options)
        client, server = scene.session(bench, endpoint, receive_bytes=SMALL_BUFFER)
        lost, other = (client, server) if by == "client" else (server, client)
        made.append(Trial(by, bench, lost, other))
    return made


def end_as_vanished(scene: Scene, made: list[Trial], within_s: float) -> list[dict[str, Any]]:
    eventually(lambda: not any(map(Trial.is_open, made)), within_s=within_s, reason="it is noticed")
    records = [scene.record(trial.bench) for trial in made]
    assert [(record["reason"], record["closed_by"]) for record in records] == [
        (f"{trial.by}_vanished", trial.by) for trial in made
    ]
    return records


def send_until_it_blocks(sender: socket.socket) -> int:
    sent = 0
    sender.settimeout(0.3)
    with pytest.raises(TimeoutError):
        while True:
            sent += sender.send(bytes(65_536))
    sender.settimeout(10.0)
    return sent


def test_peer_that_vanishes_with_bytes_outstanding_is_noticed(scene: Scene) -> None:
    made = trials(scene)
    for trial in made:
        vanish(trial.lost)
        trial.other.sendall(b"are you there?")
    for record in end_as_vanished(scene, made, USER_TIMEOUT_S + LATE_S_MAX):
        assert record["duration_ms"] >= 750 * USER_TIMEOUT_S, "it was given up too soon"
    for trial in made:
        assert read_to_end(trial.other) == (b"", RESET)


def test_peer_that_vanishes_with_a_closed_window_is_noticed(scene: Scene) -> None:
    made = trials(scene)
    for trial in made:
        send_until_it_blocks(trial.other)
        vanish(trial.lost)
    end_as_vanished(scene, made, USER_TIMEOUT_S + LATE_S_MAX)
    for trial in made:
        assert read_to_end(trial.other)[1] == RESET


def test_peer_that_vanishes_with_bytes_in_the_kernel_alone_is_noticed(scene: Scene) -> None:
    """lb keeps nothing itself: send() took all of it."""
    made = trials(scene)
    for trial in made:
        trial.other.sendall(bytes(60_000))
        throughout(lambda t=trial: not t.bench.engine.held()["blocks"], for_s=0.2, reason="nothing is kept")
        vanish(trial.lost)
    end_as_vanished(scene, made, USER_TIMEOUT_S + LATE_S_MAX)


def test_peer_that_vanishes_while_bytes_trickle_towards_it_is_noticed(scene: Scene) -> None:
    """The kernel goes on taking them, so the session never looks idle."""
    made = trials(scene)
    for trial in made:
        vanish(trial.lost)

    def are_noticed() -> bool:
        for trial in filter(Trial.is_open, made):
            try:
                trial.other.send(b"x")
            except ConnectionError:
                continue
        return not any(map(Trial.is_open, made))

    eventually(are_noticed, within_s=USER_TIMEOUT_S + LATE_S_MAX, reason="it is noticed", every_s=0.05)
    end_as_vanished(scene, made, LATE_S_MAX)


@pytest.mark.parametrize("user_timeout_ms", [0, 2000])
def test_peer_that_vanishes_while_idle_is_noticed_by_keepalive(scene: Scene, user_timeout_ms: int) -> None:
    made = trials(scene, keepalive_s=(1, 1, 2), user_timeout_ms=user_timeout_ms)
    for trial in made:
        vanish(trial.lost)
    end_as_vanished(scene, made, 3.0 + LATE_S_MAX)
    for trial in made:
        assert read_to_end(trial.other) == (b"", RESET)


def test_peer_that_vanished_is_heard_to_its_last_byte(scene: Scene) -> None:
    """What it sent before reaches the other side, slow as that is, and then the reset."""
    made = trials(scene, reset_linger_ms=10_000)
    reading = []
    for trial in made:
        trial.lost.sendall(bytes(40_000))
        vanish(trial.lost)
        trial.other.sendall(b"an answer")
        reading.append(InThread(lambda t=trial: read_to_end(t.other, pause_s=0.02, chunk_bytes=1024)))
    end_as_vanished(scene, made, USER_TIMEOUT_S + LATE_S_MAX)
    assert [one.result(10) for one in reading] == [(bytes(40_000), RESET)] * 2


def test_peer_that_lives_and_does_not_read_stays(scene: Scene) -> None:
    made = trials(scene)
    sent = [send_until_it_blocks(trial.other) for trial in made]
    throughout(
        lambda: all(map(Trial.is_open, made)), for_s=3 * USER_TIMEOUT_S, reason="its kernel answers probes"
    )
    for trial, size in zip(made, sent, strict=True):
        assert len(read_exactly(trial.lost, size)) == size
        trial.other.sendall(b"and on")
        assert read_exactly(trial.lost, 6) == b"and on"


def test_peer_that_comes_back_in_time_stays(scene: Scene) -> None:
    """Retransmissions bring what was lost."""
    made = trials(scene, user_timeout_ms=6000)
    for trial in made:
        vanish(trial.lost)
        trial.other.sendall(b"are you there?")
    throughout(lambda: all(map(Trial.is_open, made)), for_s=2.5, reason="it may come back")
    for trial in made:
        come_back(trial.lost)
        assert read_exactly(trial.lost, 14) == b"are you there?"
    throughout(lambda: all(map(Trial.is_open, made)), for_s=2.5, reason="it came back")


def test_user_timeout_0_leaves_it_to_the_kernel(scene: Scene) -> None:
    made = trials(scene, user_timeout_ms=0, keepalive_s=(0, 0, 0))
    for trial in made:
        vanish(trial.lost)
        trial.other.sendall(b"are you there?")
    throughout(lambda: all(map(Trial.is_open, made)), for_s=2.0, reason="nobody judges")


def test_sessions_that_rest_wake_the_engine_a_few_times_per_second(scene: Scene) -> None:
    """Each is looked at every half second; their looks fall together."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, user_timeout_ms=2000, connect_timeout_ms=50)
    count = 200
    for _ in range(count):
        scene.client(bench.address)
    eventually(lambda: bench.engine.sessions_open == count, within_s=10, reason="all are open")
    throughout(lambda: bench.engine.sessions_open == count, for_s=0.5, reason="the wheel has met each")
    before = bench.board.worker(0).steps_total
    throughout(lambda: bench.engine.sessions_open == count, for_s=2.0, reason="they rest")
    steps = bench.board.worker(0).steps_total - before
    print(f"\n{steps} steps in 2 s for {count} sessions")
    assert steps < count / 2
