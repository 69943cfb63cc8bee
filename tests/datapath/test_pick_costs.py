"""peak_ewma: what a cost is made of, whose sessions follow it, and that nobody is stampeded or starved."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lb._ext import trial
from lb.model.pool import Policy
from tests.support.oracles import Column, shares_of_two
from tests.support.pick_trial import PickTrial, picking, pool_of
from tests.support.scripted_endpoint import read_exactly
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

    from tests.support.engine_bench import EngineBench

TIMEOUT_S = 1.2
MS = 0.001


def connect(made: PickTrial, endpoint: int, took_s: float, now_s: float, worker: int = 0) -> None:
    made.clock(now_s)
    trial.note_connect(made.engines[worker], endpoint, round(took_s * 1e9))


def fail(made: PickTrial, endpoint: int, took_s: float) -> None:
    trial.note_connect(made.engine, endpoint, round(took_s * 1e9), failed=True)


def cost_s(made: PickTrial, endpoint: int, now_s: float) -> float:
    made.clock(now_s)
    return trial.cost_ns(made.engine, endpoint) / 1e9


@contextmanager
def two(**options: int) -> Iterator[PickTrial]:
    with picking(pool_of(Policy.PEAK_EWMA, [1, 1]), **options) as made:
        yield made


# ---- The cost ----


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(1, 10**7), st.integers(0, 60_000)), min_size=1, max_size=30
    )
)
@settings(max_examples=200, deadline=None)
def test_cost_is_the_oracles(samples: list[tuple[int, int, int]]) -> None:
    """Of samples (worker, µs it took, ms since the last one): the highest of the workers' peak EWMAs."""
    columns = [Column() for _ in range(3)]
    now_s = 1000.0
    with picking(pool_of(Policy.PEAK_EWMA, [1]), workers=3) as made:
        for worker, took_us, later_ms in samples:
            now_s += later_ms / 1000
            connect(made, 0, took_us / 1e6, now_s, worker)
            columns[worker].sample(took_us / 1e6, now_s)
            expected = max(column.now(now_s) for column in columns)
            assert cost_s(made, 0, now_s) == pytest.approx(expected, rel=1e-6)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300), st.integers(0, 4000)), max_size=60))
@settings(max_examples=100, deadline=None)
def test_cost_over_the_workers_is_near_that_of_one_memory_for_all(
    samples: list[tuple[int, int, int]],
) -> None:
    """Why all columns are read: apart they know as much as together, but for the recent low samples, which
    are at most what separates the two."""
    one = Column()
    now_s = 1000.0
    with picking(pool_of(Policy.PEAK_EWMA, [1]), workers=3) as made:
        for worker, took_ms, later_ms in [(0, 5000, 0), *samples]:
            now_s += later_ms / 1000
            connect(made, 0, took_ms / 1000, now_s, worker)
            one.sample(took_ms / 1000, now_s)
            highest_low = max([took / 1000 for _, took, _ in samples], default=0)
            assert abs(cost_s(made, 0, now_s) - one.now(now_s)) <= highest_low + 1e-6


def test_cost_of_a_peak_counts_at_once_and_fades_in_ten_seconds() -> None:
    with two() as made:
        connect(made, 0, 1 * MS, 1000)
        connect(made, 0, 500 * MS, 1000.1)
        assert cost_s(made, 0, 1000.1) == pytest.approx(0.5)
        assert cost_s(made, 0, 1010.1) == pytest.approx(0.5 / 2.718281828)
        connect(made, 0, 1 * MS, 1010.1)
        assert cost_s(made, 0, 1010.1) == pytest.approx(0.001 + 0.499 / 2.718281828)


@pytest.mark.parametrize("took_s", [0.0001, TIMEOUT_S])
def test_cost_of_a_failed_connect_is_the_whole_timeout_however_fast_it_failed(took_s: float) -> None:
    with two() as made:
        connect(made, 0, 1 * MS, 1000)
        fail(made, 0, took_s)
        assert cost_s(made, 0, 1000) == pytest.approx(TIMEOUT_S)


@pytest.mark.parametrize(
    ("connected_s", "active_s", "expected_s"),
    [
        (1000.0, 1000.0, 0.5),  # it speaks first, or was asked at once
        (999.7504, 999.75, 0.7496),  # to the nanosecond, while nobody spoke
        (900.0, 1000.2, 0.3),  # the client thought for a hundred seconds
        (900.0, 1000.5, 0.0),  # both within this millisecond
        (1000.4, 1000.0, 0.1),  # never from before the connection
    ],
)
def test_first_byte_counts_from_the_bytes_that_were_sent_last(
    connected_s: float, active_s: float, expected_s: float
) -> None:
    with two() as made:
        made.clock(1000.5)
        trial.note_first_byte(made.engine, 0, round(connected_s * 1e9), round(active_s * 1000))
        assert cost_s(made, 0, 1000.5) == pytest.approx(expected_s, abs=1e-9)


# ---- The pick ----


def picks(made: PickTrial, count: int = 50) -> Counter[int | str | None]:
    return Counter(made.pick() for _ in range(count))


def test_pick_of_two_is_the_cheaper_one() -> None:
    with two() as made:
        connect(made, 0, 2 * MS, 1000)
        connect(made, 1, 1 * MS, 1000)
        assert picks(made) == {1: 50}
        made.is_open([0, 1])  # 1 ms for two is as much as 2 ms for one
        assert picks(made) == {0: 50}, "and then fewer sessions win"
        made.is_open([0, 2])
        assert picks(made) == {0: 50}


def test_pick_weighs_sessions_by_weight() -> None:
    with picking(pool_of(Policy.PEAK_EWMA, [1, 4])) as made:
        connect(made, 0, 1 * MS, 1000)
        connect(made, 1, 1 * MS, 1000)
        made.is_open([1, 6])
        assert picks(made) == {1: 50}
        made.is_open([1, 8])
        assert picks(made) == {0: 50}


def test_pick_is_the_cheaper_of_two_that_are_drawn() -> None:
    burdens = {0: 3.0, 1: 1.0, 2: 2.0, 3: 9.0}
    with picking(pool_of(Policy.PEAK_EWMA, [1] * 4), seed=5) as made:
        for number, cost in burdens.items():
            connect(made, number, cost * MS, 1000)
        found = picks(made, 6000)
    for number, share in shares_of_two(dict.fromkeys(burdens, 1), burdens).items():
        assert abs(found[number] / 6000 - share) < 0.02


def test_pick_avoids_what_another_worker_found_slow() -> None:
    with two(workers=2) as made:
        for worker in (0, 1):
            connect(made, 0, 1 * MS, 1000, worker)
            connect(made, 1, 1 * MS, 1000, worker)
        connect(made, 1, 400 * MS, 1000, worker=1)
        assert picks(made) == {0: 50}


def test_pick_avoids_what_refuses_faster_than_others_answer() -> None:
    with two() as made:
        connect(made, 0, 100 * MS, 1000)
        connect(made, 1, 100 * MS, 1000)
        fail(made, 1, 0.0001)
        made.is_open([10, 0])
        assert picks(made) == {0: 50}


def test_pick_tries_again_what_was_slow() -> None:
    """Its cost fades, and what one session finds there counts."""
    with two() as made:
        connect(made, 1, 500 * MS, 1000)
        for second in range(1000, 1100):
            connect(made, 0, 1 * MS, second)
            if made.pick() == 1:
                break
        assert 1050 < second < 1080
        connect(made, 1, 1 * MS, second + 0.001)
        assert cost_s(made, 1, second + 0.001) == pytest.approx(0.001), "found anew: not let in by and by"


@pytest.mark.parametrize("opened", [0, 3])
def test_endpoint_that_is_unknown_gets_one_session_until_that_has_found_something(opened: int) -> None:
    """Also one that has sessions of old: they stay for hours, and say nothing."""
    with two(workers=2) as made:
        connect(made, 0, 1 * MS, 1000)
        made.is_open([0, opened])
        assert made.pick() == 1
        assert picks(made) == {0: 50}
        assert {made.pick(worker=1) for _ in range(50)} == {0}, "the other worker knows that it is tried"
        connect(made, 1, 0.2 * MS, 1000.001)
        made.is_open([1, 0])
        assert picks(made) == {1: 50}


def test_endpoint_whose_first_session_found_nothing_is_tried_again_after_the_timeout() -> None:
    """Its client left meanwhile. Then again one session at a time."""
    with two() as made:
        connect(made, 0, 1 * MS, 1000)
        assert made.pick() == 1
        made.clock(1000 + TIMEOUT_S - 0.001)
        assert picks(made) == {0: 50}
        made.clock(1000 + TIMEOUT_S)
        assert [made.pick() for _ in range(3)] == [1, 0, 0]


def test_endpoint_that_nobody_asked_for_long_is_tried_by_one_session() -> None:
    with two() as made:
        connect(made, 1, 1 * MS, 1000)
        connect(made, 0, 1 * MS, 1015)
        assert [made.pick() for _ in range(3)] == [1, 0, 0]


def test_pool_of_which_nothing_is_known_is_spread_by_sessions() -> None:
    with picking(pool_of(Policy.PEAK_EWMA, [1] * 3)) as made:
        counts = [0, 0, 0]
        for _ in range(90):
            picked = made.pick()
            assert isinstance(picked, int)
            counts[picked] += 1
            made.is_open(counts)
        assert max(counts) - min(counts) <= 3


# ---- Sessions ----


def known_cost(bench: EngineBench, endpoint: int) -> float:
    return float(bench.call(trial.cost_ns, bench.engine, endpoint)) / 1e9


def asked_after(scene: Scene, think_s: float, answer_s: float) -> tuple[EngineBench, float, float]:
    """A session whose client thinks first, and whose endpoint then takes its time: what it cost before the
    question, and how long the answer took in the test's eyes."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, policy=Policy.PEAK_EWMA)
    client, server = scene.session(bench, endpoint)
    eventually(lambda: 0 < known_cost(bench, 0) < TIMEOUT_S, within_s=5, reason="it connected")
    by_connect = known_cost(bench, 0)
    pass_by(think_s)
    asked_s = time.monotonic()
    client.sendall(b"?")
    assert read_exactly(server, 1) == b"?"
    pass_by(answer_s)
    server.sendall(b"!")
    assert read_exactly(client, 1) == b"!"
    eventually(
        lambda: sum(bench.board.endpoint(0).first_byte_seconds.counts) == 1, within_s=5, reason="counted"
    )
    return bench, by_connect, time.monotonic() - asked_s


def pass_by(seconds: float) -> None:
    until_s = time.monotonic() + seconds
    eventually(lambda: time.monotonic() >= until_s, within_s=seconds + 5, reason="time passes")


def test_sessions_give_samples_of_connects_and_first_bytes(scene: Scene) -> None:
    bench, by_connect, took_s = asked_after(scene, think_s=0, answer_s=0.3)
    assert by_connect > 0
    assert 0.25 < known_cost(bench, 0) <= max(by_connect, took_s + MS)


def test_sessions_whose_clients_think_do_not_cost_the_thinking(scene: Scene) -> None:
    bench, by_connect, took_s = asked_after(scene, think_s=0.5, answer_s=0)
    assert known_cost(bench, 0) <= max(by_connect, took_s + MS)


def test_sessions_of_other_policies_give_none(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, policy=Policy.POWER_OF_TWO)
    client, server = scene.session(bench, endpoint)
    server.sendall(b"!")
    assert read_exactly(client, 1) == b"!"
    assert known_cost(bench, 0) == 0


def has_connected(bench: EngineBench, endpoint: int, count: int) -> bool:
    return sum(bench.board.endpoint(endpoint).connect_seconds.counts) == count


def test_sessions_leave_an_endpoint_that_refuses(scene: Scene) -> None:
    """One of them finds out, and goes elsewhere; the others do not come by it any more."""
    one, two = scene.endpoint(), scene.endpoint()
    bench = scene.relay(one, two, policy=Policy.PEAK_EWMA, connect_timeout_ms=60_000)
    one.close()
    with socket.socket() as holder:  # it does not listen; but nobody else gets the port
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(one.address)
        for count in range(1, 31):
            scene.session(bench, two)
            # Until the engine has seen that it is connected, `two` is as doubtful as the one that refuses.
            eventually(
                partial(has_connected, bench, 1, count), within_s=5, reason="it is connected", every_s=0.001
            )
    assert bench.board.endpoint(0).connect_failures["refused"] == 1
    assert known_cost(bench, 0) > known_cost(bench, 1)
