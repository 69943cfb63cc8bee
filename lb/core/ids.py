"""Stable ids: small whole numbers, given smallest free first and given again only after they were freed.

They index the tables of the data path and the scoreboard, so they stay dense. Whoever frees an id vouches
that no session holds it.
"""

from __future__ import annotations

from heapq import heappop, heappush


class Ids:
    def __init__(self) -> None:
        self._taken: set[int] = set()
        self._freed: list[int] = []  # a heap: what lies below the largest ever taken and is not taken

    def take(self) -> int:
        number = heappop(self._freed) if self._freed else len(self._taken)
        self._taken.add(number)
        return number

    def free(self, number: int) -> None:
        self._taken.remove(number)
        heappush(self._freed, number)
