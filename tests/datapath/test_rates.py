"""Token buckets, against one that keeps its tokens as an exact fraction; and sessions that wait for one."""

from __future__ import annotations

import socket
import time
from fractions import Fraction
from itertools import accumulate
from math import ceil
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from lb._ext.gate import SourceTables, tokens_due
from lb.shell.datapath import Board
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import read_exactly
from tests.support.snapshots import with_listener
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

SECOND_NS = 10**9
SPIN_STEPS_MAX = 15

rates = st.one_of(st.integers(1, 20), st.integers(1, 10**9))
moments = st.lists(
    st.one_of(st.just(0), st.integers(0, 10**6), st.integers(0, 3 * SECOND_NS)), min_size=1, max_size=60
).map(lambda steps: [10**12 + at for at in accumulate(steps)])


class ExactBucket:
    """Holds as many tokens as come in a second, which is rounded up so that each takes whole nanoseconds."""

    def __init__(self, per_second: int) -> None:
        self.interval_ns = ceil(Fraction(SECOND_NS, per_second))
        self.size = per_second
        self.tokens = Fraction(per_second)
        self.filled_ns = 0

    def fill(self, now_ns: int) -> None:
        gained = Fraction(now_ns - self.filled_ns, self.interval_ns)
        self.tokens, self.filled_ns = min(self.tokens + gained, Fraction(self.size)), now_ns

    def takes(self, now_ns: int) -> bool:
        self.fill(now_ns)
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@settings(max_examples=400, deadline=None)
@given(rates, moments)
def test_bucket_gives_a_token_exactly_when_it_has_one(per_second: int, asked_ns: list[int]) -> None:
    bucket = ExactBucket(per_second)
    given_ns = tokens_due(per_second, asked_ns, False)
    assert [due is not None for due in given_ns] == [bucket.takes(now_ns) for now_ns in asked_ns]


@settings(max_examples=400, deadline=None)
@given(rates, moments)
def test_bucket_books_the_first_token_that_nobody_has_booked(per_second: int, asked_ns: list[int]) -> None:
    bucket = ExactBucket(per_second)
    for now_ns, due_ns in zip(asked_ns, tokens_due(per_second, asked_ns, True), strict=True):
        bucket.fill(now_ns)
        bucket.tokens -= 1  # below 0: so many are booked
        missing_ns = ceil(max(-bucket.tokens, Fraction(0)) * bucket.interval_ns)
        assert due_ns is not None
        assert max(due_ns, now_ns) == now_ns + missing_ns


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 5), st.lists(st.tuples(st.integers(1, 6), st.integers(0, SECOND_NS // 2)), max_size=80))
def test_sources_have_a_bucket_each_whichever_worker_asks(
    per_second: int, asked: list[tuple[int, int]]
) -> None:
    board = Board.create(2)
    workers = [SourceTables(board.fd, index) for index in (0, 1)]
    buckets = {key: ExactBucket(per_second) for key in range(1, 7)}
    now_ns = 10**12
    for turn, (key, step_ns) in enumerate(asked):
        now_ns += step_ns
        assert workers[turn % 2].take(key, per_second, now_ns) == buckets[key].takes(now_ns)
    board.close()


def test_sources_too_many_for_their_set_are_let_in_until_a_bucket_is_full_again() -> None:
    board = Board.create(1)
    tables = SourceTables(board.fd, 0)
    same_set = [1 + number * 8192 for number in range(17)]
    assert [tables.take(key, 1, SECOND_NS) for key in same_set] == [True] * 16 + [None]
    assert [tables.take(key, 1, SECOND_NS) for key in same_set[:16]] == [False] * 16
    assert tables.take(same_set[16], 1, 2 * SECOND_NS) is True
    assert tables.take(same_set[16], 1, 2 * SECOND_NS) is False
    board.close()


# ---- rate_max: the backlog waits ----


def paced(scene: Scene, rate_max: int, workers: int = 1, **keys: object) -> list[EngineBench]:
    endpoint = scene.endpoint().echo()
    board = Board.create(workers)
    snapshot = with_listener(snapshot_of([endpoint.address]), rate_max=rate_max, **keys)
    return [scene.bench(snapshot, board=board, worker=index) for index in range(workers)]


def knock(scene: Scene, bench: EngineBench) -> socket.socket:
    client = scene.client(bench.address)
    client.sendall(b"?")
    return client


def test_rate_over_two_workers_lets_all_in_and_none_too_early(scene: Scene) -> None:
    rate = 40
    benches = paced(scene, rate, workers=2)
    start_ns = time.monotonic_ns()
    clients = [knock(scene, benches[number % 2]) for number in range(2 * rate)]
    for client in clients:
        assert read_exactly(client, 1) == b"?"
    took_s = (time.monotonic_ns() - start_ns) / SECOND_NS
    counts = benches[0].board.listener(0)
    print(
        f"\n{2 * rate} sessions at {rate}/s took {took_s:.3f} s; accepting waited {counts.paced_total} times"
    )
    assert took_s >= 1.0 - 1 / rate, "the first second's worth at once, the others one after the other"
    assert (counts.sessions_total, sum(counts.refused.values())) == (2 * rate, 0)
    assert benches[0].board.worker(0).accept_paused_total == 0, "that is no lack of room"


def test_rate_without_a_token_does_not_spin(scene: Scene) -> None:
    [bench] = paced(scene, 1)
    first = knock(scene, bench)
    assert read_exactly(first, 1) == b"?"
    [knock(scene, bench) for _ in range(20)]
    eventually(lambda: bench.board.listener(0).paced_total >= 1, within_s=5, reason="it waits for a token")
    before, total = bench.board.worker(0).steps_total, bench.board.listener(0).sessions_total
    throughout(
        lambda: (
            bench.board.worker(0).steps_total - before
            <= SPIN_STEPS_MAX + 6 * (bench.board.listener(0).sessions_total - total)
        ),
        for_s=0.6,
        reason="it spins",
    )


def test_rate_that_is_raised_holds_for_those_who_wait(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(with_listener(snapshot_of([endpoint.address]), rate_max=1))
    clients = [knock(scene, bench) for _ in range(60)]
    assert read_exactly(clients[0], 1) == b"?"
    bench.call(bench.publish, with_listener(snapshot_of([endpoint.address], generation=2), rate_max=1000))
    for client in clients[1:]:
        assert read_exactly(client, 1) == b"?"


def test_rate_that_is_taken_away_lets_all_in(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(with_listener(snapshot_of([endpoint.address]), rate_max=1))
    clients = [knock(scene, bench) for _ in range(60)]
    assert read_exactly(clients[0], 1) == b"?"
    bench.call(bench.publish, snapshot_of([endpoint.address], generation=2))
    for client in clients[1:]:
        assert read_exactly(client, 1) == b"?"


def test_token_that_is_held_for_a_socket_that_leaves_is_another_s(scene: Scene) -> None:
    """Else the next client would wait two seconds for what is there after one."""
    benches = paced(scene, 1, workers=2)
    assert read_exactly(knock(scene, benches[0]), 1) == b"?"
    knock(scene, benches[0])
    eventually(lambda: benches[0].board.listener(0).paced_total == 1, within_s=5, reason="it holds a token")
    assert benches[0].engine.tokens_held == 1
    benches[0].call(benches[0].engine.unlisten, 7)
    assert benches[0].engine.tokens_held == 0
    assert read_exactly(knock(scene, benches[1]), 1) == b"?"


def test_rate_in_a_dry_run_counts_who_would_have_waited(scene: Scene) -> None:
    [bench] = paced(scene, 2, dry_run=True)
    start_ns = time.monotonic_ns()
    for _ in range(20):
        assert read_exactly(knock(scene, bench), 1) == b"?"
    took_s = (time.monotonic_ns() - start_ns) / SECOND_NS
    counts = bench.board.listener(0)
    allowed = 20 - counts.would_refuse["refused_rate"]
    assert 2 <= allowed <= 2 + 2 * took_s
    assert (counts.sessions_total, counts.paced_total) == (20, 0)
