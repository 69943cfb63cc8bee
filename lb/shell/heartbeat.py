"""Which workers are silent, told by the times at which each last gave a sign of life.

A worker's loop stores the time in the scoreboard every 250 ms. After a machine stood still, or a supervisor
was late itself, everybody's last sign is old: such a look proves nothing, and the next one decides.
"""

from __future__ import annotations

from collections.abc import Mapping

LOOK_NS = 250_000_000
SILENT_NS = 1_000_000_000
LATE_NS = 500_000_000


class Heartbeats:
    """All times are of CLOCK_MONOTONIC, in nanoseconds."""

    def __init__(self, now_ns: int) -> None:
        self._looked_ns = now_ns

    def silent(self, now_ns: int, signs_ns: Mapping[int, int]) -> set[int] | None:
        """The silent ones among `signs_ns` (worker: last sign). None: this look was late and says nothing."""
        late = now_ns - self._looked_ns > LOOK_NS + LATE_NS
        self._looked_ns = now_ns
        if late:
            return None
        return {worker for worker, sign_ns in signs_ns.items() if now_ns - sign_ns > SILENT_NS}
