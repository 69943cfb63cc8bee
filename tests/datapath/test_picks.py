"""Which endpoint: each policy against an obvious version of itself."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from lb.model.pool import Policy
from lb.shell.datapath import Board
from tests.support.waiting import eventually

if TYPE_CHECKING:
    import socket

    from conftest import Scene

    from tests.support.engine_bench import EngineBench
    from tests.support.scripted_endpoint import ScriptedEndpoint


def open_counts(bench: EngineBench, count: int) -> list[int]:
    found = bench.board.sessions_open_by_endpoint()
    return [found.get(number, 0) for number in range(count)]


def connect(scene: Scene, bench: EngineBench, count: int) -> int:
    """One more session; which endpoint got it."""
    before = open_counts(bench, count)
    scene.client(bench.address)
    eventually(
        lambda: sum(open_counts(bench, count)) == sum(before) + 1, within_s=5, reason="picked", every_s=0.001
    )
    return next(
        n for n, (old, new) in enumerate(zip(before, open_counts(bench, count), strict=True)) if new > old
    )


def endpoints(scene: Scene, count: int) -> list[ScriptedEndpoint]:
    return [scene.endpoint() for _ in range(count)]


# ---- Round robin ----


@pytest.mark.parametrize("schedule", [(0,), (0, 1, 2), (0, 1, 0, 2, 0), (2, 2, 1), tuple(range(7)) * 2])
def test_round_robin_walks_its_schedule(scene: Scene, schedule: tuple[int, ...]) -> None:
    count = max(schedule) + 1
    bench = scene.relay(*endpoints(scene, count), schedule=schedule)
    picked = [connect(scene, bench, count) for _ in range(3 * len(schedule))]
    assert picked == list(schedule) * 3


def test_round_robin_of_two_workers_is_one_round(scene: Scene) -> None:
    """They share the cursor: whichever of them accepts, the next endpoint's turn it is."""
    board, made = Board.create(2), endpoints(scene, 3)
    schedule = (0, 1, 2, 0, 1)
    benches = [scene.relay(*made, schedule=schedule, board=board, worker=index) for index in (0, 1)]
    draw = random.Random(7)
    picked = [connect(scene, draw.choice(benches), 3) for _ in range(50)]
    assert picked == list(schedule) * 10
    opened = [board.worker(index).sessions_open for index in (0, 1)]
    assert sum(opened) == 50 and all(opened)


def test_round_robin_spreads_the_turns_of_a_full_endpoint_over_the_others(scene: Scene) -> None:
    bench = scene.relay(*endpoints(scene, 3), schedule=(0, 1, 2, 0), endpoint_sessions_max=30)
    assert Counter(connect(scene, bench, 3) for _ in range(60)) == {0: 30, 1: 15, 2: 15}
    assert Counter(connect(scene, bench, 3) for _ in range(20)) == {1: 10, 2: 10}


def test_round_robin_passes_full_endpoints_by(scene: Scene) -> None:
    bench = scene.relay(*endpoints(scene, 3), schedule=(0, 1, 2), endpoint_sessions_max=4)
    picked = Counter(connect(scene, bench, 3) for _ in range(12))
    assert picked == {0: 4, 1: 4, 2: 4}
    assert scene.is_reset(bench.address)
    assert scene.record(bench)["reason"] == "refused_limit"


def test_round_robin_past_a_dead_endpoint_still_gives_each_its_turns(scene: Scene) -> None:
    """A further attempt takes no turn: else, of two, the dead one would be every session's first."""
    one, two = endpoints(scene, 2)
    bench = scene.relay(one, two)
    one.close()
    for _ in range(20):
        scene.client(bench.address)
        scene.enter(two.accept())
    assert bench.board.endpoint(0).connect_failures["refused"] == 10


# ---- Least connections ----


class Oracle:
    """Which endpoints may be picked: the least sessions for their weight, where there is room."""

    def __init__(self, weights: list[int], sessions_max: int = 0) -> None:
        self.weights, self.sessions_max = weights, sessions_max

    def candidates(self, is_open: list[int]) -> set[int]:
        room = [n for n, count in enumerate(is_open) if not self.sessions_max or count < self.sessions_max]
        least = min((is_open[n] / self.weights[n] for n in room), default=None)
        return {n for n in room if is_open[n] / self.weights[n] == least}


@pytest.mark.parametrize("weights", [[1, 1, 1], [1, 2, 4], [3, 1], [256, 1, 16]])
def test_least_connections_picks_what_the_oracle_may_pick(scene: Scene, weights: list[int]) -> None:
    """While sessions come and go at random."""
    seed, count = 11, len(weights)
    draw = random.Random(seed)
    made = endpoints(scene, count)
    bench = scene.relay(*made, policy=Policy.LEAST_CONNECTIONS, weights=weights)
    oracle = Oracle(weights)
    live: list[tuple[socket.socket, socket.socket, int]] = []
    for step in range(120):
        if live and draw.random() < 0.35:
            client, server, _ = live.pop(draw.randrange(len(live)))
            before = sum(open_counts(bench, count))
            client.close()
            server.close()
            eventually(
                lambda b=before: sum(open_counts(bench, count)) == b - 1,
                within_s=5,
                reason="ended",
                every_s=0.001,
            )
            continue
        allowed = oracle.candidates(open_counts(bench, count))
        before = open_counts(bench, count)
        client = scene.client(bench.address)
        eventually(
            lambda b=before: sum(open_counts(bench, count)) == sum(b) + 1,
            within_s=5,
            reason="picked",
            every_s=0.001,
        )
        after = open_counts(bench, count)
        picked = next(n for n in range(count) if after[n] > before[n])
        assert picked in allowed, f"seed {seed}, step {step}: {picked} with {before} open, weights {weights}"
        live.append((client, scene.enter(made[picked].accept()), picked))


def test_least_connections_sees_the_sessions_of_every_worker(scene: Scene) -> None:
    board, made = Board.create(2), endpoints(scene, 2)
    one, two = (
        scene.relay(*made, policy=Policy.LEAST_CONNECTIONS, board=board, worker=index) for index in (0, 1)
    )
    for _ in range(10):
        connect(scene, one, 2)
        connect(scene, two, 2)
    assert open_counts(one, 2) == [10, 10]


def test_least_connections_honours_sessions_max(scene: Scene) -> None:
    made = endpoints(scene, 2)
    bench = scene.relay(
        *made, policy=Policy.LEAST_CONNECTIONS, weights=[100, 1], endpoint_sessions_max=5, attempts_max=1
    )
    for _ in range(10):
        connect(scene, bench, 2)
    assert open_counts(bench, 2) == [5, 5]
    assert scene.is_reset(bench.address)


def test_least_connections_breaks_ties_by_lot(scene: Scene) -> None:
    """Else all workers would run to the first."""
    made = endpoints(scene, 3)
    bench = scene.relay(*made, policy=Policy.LEAST_CONNECTIONS)
    firsts = Counter[int]()
    for _ in range(60):
        firsts[(picked := connect(scene, bench, 3))] += 1
        bench.call(bench.engine.close_some, picked, -1, "operator", 0)
    assert min(firsts[n] for n in range(3)) >= 5, firsts
