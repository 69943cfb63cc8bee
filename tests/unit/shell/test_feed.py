"""Readers get the past, then the present; who is slow loses events and is told how many."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from lb.model.record import Record
from lb.shell import feed as module
from lb.shell.feed import Feed


def feed_of(*events: str) -> Feed:
    feed = Feed(clock=lambda: 5.0)
    for event in events:
        feed.publish(Record(event))
    return feed


async def names(reader: AsyncIterator[dict[str, Any]], count: int) -> list[str]:
    return [(await anext(reader))["event"] for _ in range(count)]


async def test_event_has_time_level_and_facts() -> None:
    feed = Feed(clock=lambda: 5.0)
    feed.publish(Record("worker_lost", "error", {"worker": 1}))
    assert feed.past() == [{"time": 5.0, "event": "worker_lost", "level": "error", "worker": 1}]


async def test_reader_gets_the_past_and_then_what_comes() -> None:
    feed = feed_of("a", "b")
    reader = feed.subscribe()
    assert await names(reader, 2) == ["a", "b"]
    coming = asyncio.create_task(names(reader, 1))
    await asyncio.sleep(0)
    feed.publish(Record("c"))
    assert await coming == ["c"]


async def test_reader_that_wants_no_past_gets_none() -> None:
    feed = feed_of("a")
    coming = asyncio.create_task(names(feed.subscribe(past=False), 1))
    await asyncio.sleep(0)
    feed.publish(Record("b"))
    assert await coming == ["b"]


async def test_past_is_bounded() -> None:
    feed = feed_of(*(str(number) for number in range(module.PAST_COUNT_MAX + 5)))
    assert len(feed.past()) == module.PAST_COUNT_MAX
    assert feed.past()[0]["event"] == "5"


async def test_slow_reader_is_told_how_many_it_lost_and_others_lose_nothing() -> None:
    feed = feed_of("first")
    slow, quick = feed.subscribe(), feed.subscribe()
    assert await names(slow, 1) == await names(quick, 1) == ["first"]
    for number in range(module.UNREAD_COUNT_MAX + 3):
        feed.publish(Record(str(number)))
        assert await names(quick, 1) == [str(number)]
    lost = await anext(slow)
    assert (lost["event"], lost["count"]) == ("events_lost", 3)
    assert await names(slow, 2) == ["3", "4"]


async def test_reader_that_leaves_is_forgotten() -> None:
    feed = feed_of("a")
    reader = feed.subscribe()
    assert await names(reader, 1) == ["a"]
    await reader.aclose()
    assert not feed._readers
