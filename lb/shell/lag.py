"""How late the loop turns: a timer that knows when it was due.

Whoever waits on a deadline asks `late_since` before believing that the other side was silent: a process that
was stopped, starved or busy finds all its deadlines passed at once, and that proves nothing about anybody.
"""

from __future__ import annotations

import asyncio
import time

from lb.shell.counts import Histogram, Tally

BEAT_S = 0.1
LATE_S = 0.1
BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class Lag:
    """Beats from `start` to `stop`. A turn that was late by LATE_S + BEAT_S is never missed.

    Time is read from the system, not from the loop: uvloop's clock stands still during a turn, which is
    what is to be measured.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tally = Tally(BOUNDS_S)
        self._due_s = float("inf")
        self._late_at_s = float("-inf")
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._due_s = time.monotonic() + BEAT_S
        self._timer = self._loop.call_at(self._due_s, self._beat)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._due_s = float("inf")

    def late_since(self, since_s: float) -> bool:
        """Whether a turn that ended after `since_s` (time.monotonic) was late, this one included."""
        return self._late_at_s >= since_s or time.monotonic() - self._due_s > LATE_S

    def histogram(self) -> Histogram:
        return self._tally.histogram()

    def _beat(self) -> None:
        now_s = time.monotonic()
        lag_s = max(0.0, now_s - self._due_s)
        self._tally.add(lag_s)
        if lag_s > LATE_S:
            self._late_at_s = now_s
        self.start()
