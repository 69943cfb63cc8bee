"""What is to be done later: one time for each need of each endpoint, and the earliest of all.

A heap whose entries are never searched. An entry that was moved or cleared stays in it and is passed over
when its time comes, for `_times` alone says what holds. So a Tick costs what is due, not what exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from heapq import heapify, heappop, heappush
from typing import NamedTuple

# Stale entries are swept out once they outnumber the others; below this size it is not worth the look.
HEAP_SWEPT_MIN = 256


class Need(IntEnum):
    """Two that fall on the same moment are met in this order."""

    DRAINED = 1  # an endpoint's drain has lasted long enough: its sessions are closed
    CLOSE = 2  # an endpoint has been DOWN long enough: its sessions are closed
    PROBE = 3
    COUNT = 4  # something drains: sessions are counted
    RETURN = 5  # an endpoint has been set aside long enough
    RAMP = 6  # an endpoint's slow start goes on
    PUBLISH = 7  # a snapshot was held back for a moment


class Entry(NamedTuple):
    """`endpoint_id` is 0 for a need that is no endpoint's; `check` is the place of the check to run."""

    need: Need
    endpoint_id: int = 0
    check: int = 0


class Agenda:
    def __init__(self) -> None:
        self._times: dict[Entry, float] = {}
        self._heap: list[tuple[float, Entry]] = []

    def set(self, entry: Entry, at_s: float) -> None:
        """Replaces the time that was set before."""
        if self._times.get(entry) == at_s:
            return
        self._times[entry] = at_s
        heappush(self._heap, (at_s, entry))
        if len(self._heap) > max(HEAP_SWEPT_MIN, 2 * len(self._times)):
            self._heap = [(time, kept) for kept, time in self._times.items()]
            heapify(self._heap)

    def clear(self, entry: Entry) -> None:
        self._times.pop(entry, None)

    def at(self, entry: Entry) -> float | None:
        return self._times.get(entry)

    def next_s(self) -> float | None:
        """The earliest time set."""
        while self._heap and self._times.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Iterator[Entry]:
        """Takes out, one by one, what has come; what is set meanwhile for no later than `now` comes too."""
        while (at_s := self.next_s()) is not None and at_s <= now:
            _, entry = heappop(self._heap)
            del self._times[entry]
            yield entry
