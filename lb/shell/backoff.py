"""How long to wait before a worker that died is replaced: not at all, then longer with each early death."""

from __future__ import annotations

DELAY_S_MIN, DELAY_S_MAX = 0.1, 5.0
GOOD_LIFE_S = 10.0  # who lived so long did not die of how it was started


class Backoff:
    """0 after the first death, then 0.1 s doubling to 5 s. A good life clears the record."""

    def __init__(self) -> None:
        self.deaths = 0  # in a row, early ones

    def after(self, lived_s: float) -> float:
        """The delay in seconds after a death."""
        if lived_s >= GOOD_LIFE_S:
            self.deaths = 0
        self.deaths += 1
        if self.deaths == 1:
            return 0.0
        doublings = min(self.deaths - 2, 16)
        return float(min(DELAY_S_MIN * 2**doublings, DELAY_S_MAX))
