"""Events for whoever listens: the latest past, then the present.

A reader that is slow loses events and is told how many; it never holds up the others, nor lb.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any

from lb.model.record import Record

PAST_COUNT_MAX = 256
UNREAD_COUNT_MAX = 1024  # per reader: a pool of a thousand endpoints going DOWN at once is still seen whole

Event = dict[str, Any]


class Reader:
    """Events that one listener has not read yet."""

    def __init__(self, past: deque[Event]) -> None:
        self._unread = deque(past, maxlen=UNREAD_COUNT_MAX)
        self._lost_count = 0
        self._arrived = asyncio.Event()

    def put(self, event: Event) -> None:
        self._lost_count += len(self._unread) == UNREAD_COUNT_MAX
        self._unread.append(event)
        self._arrived.set()

    async def get(self) -> Event:
        while not self._unread:
            self._arrived.clear()
            await self._arrived.wait()
        if self._lost_count:
            lost, self._lost_count = self._lost_count, 0
            return {
                "time": self._unread[0]["time"],
                "event": "events_lost",
                "level": "warning",
                "count": lost,
            }
        return self._unread.popleft()


class Feed:
    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._past = deque[Event](maxlen=PAST_COUNT_MAX)
        self._readers = set[Reader]()

    def publish(self, record: Record) -> None:
        event = {"time": self._clock(), "event": record.event, "level": record.level, **record.facts}
        self._past.append(event)
        for reader in self._readers:
            reader.put(event)

    def past(self) -> list[Event]:
        return list(self._past)

    async def subscribe(self, *, past: bool = True) -> AsyncIterator[Event]:
        """The past, then each event as it comes; never ends by itself."""
        reader = Reader(self._past if past else deque())
        self._readers.add(reader)
        try:
            while True:
                yield await reader.get()
        finally:
            self._readers.discard(reader)
