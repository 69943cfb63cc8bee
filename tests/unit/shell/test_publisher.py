"""Snapshots reach the workers one at a time, the newest always, and nothing overtakes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from lb.core.commands import CloseSessions
from lb.model.cause import Reason
from lb.model.snapshot import Snapshot
from lb.shell import publisher as module
from lb.shell.publisher import Publisher, PublishFailed
from tests.support.async_waiting import until
from tests.support.scripted_crew import ScriptedCrew


class Bench:
    def __init__(self) -> None:
        self.crew = ScriptedCrew()
        self.failures: list[Exception] = []
        self.publisher = Publisher(self.crew.publish, self.crew.close_sessions, self.failures.append)

    def submit(self, generation: int) -> None:
        self.publisher.submit(Snapshot(generation, (), (), ()))

    def close(self, endpoint_id: int) -> None:
        self.publisher.close_sessions(CloseSessions(Reason.DRAINED, endpoint_id=endpoint_id))


@asynccontextmanager
async def running() -> AsyncIterator[Bench]:
    bench = Bench()
    task = asyncio.create_task(bench.publisher.run())
    try:
        yield bench
    finally:
        task.cancel()


async def test_snapshot_is_published_and_acknowledged() -> None:
    async with running() as bench:
        bench.submit(1)
        await bench.publisher.acknowledged(1)
        assert bench.crew.published == [1]


async def test_acknowledged_generation_that_passed_does_not_wait() -> None:
    async with running() as bench:
        bench.submit(3)
        await bench.publisher.acknowledged(3)
        await bench.publisher.acknowledged(2)


async def test_slow_workers_get_the_newest_snapshot_and_none_in_between() -> None:
    async with running() as bench:
        bench.crew.slow = asyncio.Event()
        bench.submit(1)
        await asyncio.sleep(0)  # the publisher takes it up
        await asyncio.sleep(0)
        for generation in (2, 3, 4):
            bench.submit(generation)
        bench.crew.slow.set()
        await bench.publisher.acknowledged(2)
        assert bench.crew.published == [1, 4]


async def test_sessions_are_closed_after_the_snapshot_that_came_before() -> None:
    async with running() as bench:
        bench.crew.slow = asyncio.Event()
        bench.submit(1)
        bench.close(7)
        await asyncio.sleep(0)
        bench.close(8)
        bench.crew.slow.set()
        await until(lambda: len(bench.crew.journal) == 3, "both closings are sent")
        assert bench.crew.journal == ["publish", "close endpoint 7", "close endpoint 8"]


async def test_closing_of_a_forgotten_endpoint_is_not_sent_to_its_successor() -> None:
    async with running() as bench:
        bench.close(7)
        bench.close(8)
        bench.publisher.forget_endpoint(7)
        await until(lambda: bench.crew.journal, "the other closing is sent")
        assert bench.crew.journal == ["close endpoint 8"]


async def test_publish_that_fails_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.01)
    async with running() as bench:
        bench.crew.failing["publish"] = OSError("no memory")
        bench.submit(1)
        bench.close(7)
        with pytest.raises(PublishFailed, match="generation 1: no memory"):
            await bench.publisher.acknowledged(1)
        await bench.publisher.acknowledged(1)
        await until(lambda: "close endpoint 7" in bench.crew.journal, "what waited follows")
        assert bench.crew.journal == ["publish", "publish", "close endpoint 7"]
        assert [str(failure) for failure in bench.failures] == ["no memory"]


async def test_publish_after_a_failure_takes_the_newer_snapshot_at_once() -> None:
    async with running() as bench:  # RETRY_S is longer than what the test waits for
        bench.crew.failing["publish"] = OSError("not sound")
        bench.submit(1)
        await until(lambda: bench.failures, "the first one fails")
        bench.submit(2)
        async with asyncio.timeout(module.RETRY_S / 2):
            await bench.publisher.acknowledged(2)
        assert bench.crew.published == [2]


async def test_waiting_that_is_cancelled_does_not_disturb_the_others() -> None:
    async with running() as bench:
        bench.crew.slow = asyncio.Event()
        waiting = [asyncio.create_task(bench.publisher.acknowledged(1)) for _ in range(2)]
        bench.submit(1)
        await asyncio.sleep(0)
        waiting[0].cancel()
        bench.crew.slow.set()
        await waiting[1]


async def test_workers_that_never_answer_are_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACKNOWLEDGED_S_MAX", 0.01)
    async with running() as bench:
        bench.crew.slow = asyncio.Event()
        bench.submit(1)
        with pytest.raises(PublishFailed, match="have not taken generation 1 yet"):
            await bench.publisher.acknowledged(1)
