"""The loop's lateness is noticed by whoever waited through it, and by nobody else."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine
from typing import Any

import uvloop

from lb.shell.lag import BEAT_S, LATE_S, Lag


def run(scenario: Coroutine[Any, Any, None]) -> None:
    uvloop.run(scenario)


def hold_still(seconds: float) -> None:
    threading.Event().wait(seconds)


async def started() -> Lag:
    lag = Lag(asyncio.get_running_loop())
    lag.start()
    return lag


async def beats(lag: Lag, count: int) -> None:
    await asyncio.sleep((count + 1) * BEAT_S)
    assert sum(lag.histogram().counts) >= count


def test_lag_of_a_free_loop_is_not_late() -> None:
    async def scenario() -> None:
        lag = await started()
        since_s = time.monotonic()
        await beats(lag, 3)
        assert not lag.late_since(since_s)
        lag.stop()

    run(scenario())


def test_lag_of_a_turn_that_is_still_going_on_is_late() -> None:
    async def scenario() -> None:
        lag = await started()
        since_s = time.monotonic()
        hold_still(LATE_S + 2 * BEAT_S)
        assert lag.late_since(since_s)
        lag.stop()

    run(scenario())


def test_lag_stays_late_for_those_who_waited_and_not_for_those_who_come_after() -> None:
    async def scenario() -> None:
        lag = await started()
        before_s = time.monotonic()
        hold_still(LATE_S + 2 * BEAT_S)
        await beats(lag, 2)
        after_s = time.monotonic()
        await beats(lag, 2)
        assert lag.late_since(before_s)
        assert not lag.late_since(after_s)
        lag.stop()

    run(scenario())


def test_lag_counts_every_beat_by_how_late_it_was() -> None:
    async def scenario() -> None:
        lag = await started()
        hold_still(0.3)
        await beats(lag, 3)
        lag.stop()
        histogram = lag.histogram()
        above_100_ms = sum(histogram.counts[histogram.bounds.index(0.1) + 1 :])
        assert above_100_ms == 1
        assert histogram.sum > 0.2

    run(scenario())


def test_lag_that_was_stopped_is_never_late() -> None:
    async def scenario() -> None:
        lag = await started()
        lag.stop()
        hold_still(LATE_S + 2 * BEAT_S)
        assert not lag.late_since(0.0)

    run(scenario())
