"""What a worker is to do later: callbacks by time. The engine waits no longer than the first allows."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from time import monotonic
from typing import Any


class Due:
    """Nothing is ever taken back: whoever is called looks whether it still matters."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._entries: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()  # of equal times, the first asked for comes first

    def later(self, after_s: float, callback: Callable[..., None], *arguments: Any) -> None:
        heappush(self._entries, (self._clock() + after_s, next(self._numbers), callback, arguments))

    def wait_ms(self, at_most_s: float) -> int:
        """Until the first is due, rounded up: who wakes early would only wait again."""
        wait_s = min(self._entries[0][0] - self._clock(), at_most_s) if self._entries else at_most_s
        return max(0, -int(-wait_s * 1000 // 1))

    def run(self) -> None:
        """Calls those that are due now; what they ask for has to wait for the next call."""
        now, ready = self._clock(), []
        while self._entries and self._entries[0][0] <= now:
            ready.append(heappop(self._entries))
        for _, _, callback, arguments in ready:
            callback(*arguments)
