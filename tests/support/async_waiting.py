"""Waiting on a condition inside a running loop, with a deadline and a reason."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")

WITHIN_S = 10.0  # far more than anything here takes, also on a machine that is busy with other tests
EVERY_S = 0.005


async def until(condition: Callable[[], Seen], reason: str, *, within_s: float = WITHIN_S) -> Seen:
    """The first true value of `condition`."""
    loop = asyncio.get_running_loop()
    deadline_s = loop.time() + within_s
    while not (seen := condition()):
        assert loop.time() < deadline_s, f"not within {within_s:g} s: {reason} (last seen: {seen!r})"
        await asyncio.sleep(EVERY_S)
    return seen
