"""Waiting on a condition, with a deadline and a reason, so that no test waits for a fixed time.

A wait that fails says what it waited for and what it saw last. Conditions are asked again and again in the
caller's thread; one that raises ends the wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

Seen = TypeVar("Seen")
_never = threading.Event()


def eventually(condition: Callable[[], Seen], *, within_s: float, reason: str, every_s: float = 0.02) -> Seen:
    """The first true value of `condition`. Raises AssertionError when there is none within the time."""
    deadline_s = time.monotonic() + within_s
    while True:
        seen = condition()
        if seen:
            return seen
        if time.monotonic() > deadline_s:
            raise AssertionError(f"not within {within_s:g} s: {reason} (last seen: {seen!r})")
        _never.wait(every_s)


def seconds_until(
    condition: Callable[[], object], *, within_s: float, reason: str, every_s: float = 0.005
) -> float:
    """How long it took until `condition` was true."""
    start_s = time.monotonic()
    eventually(condition, within_s=within_s, reason=reason, every_s=every_s)
    return time.monotonic() - start_s


def throughout(condition: Callable[[], object], *, for_s: float, reason: str, every_s: float = 0.05) -> None:
    """`condition` is true at each look for all of the time: nothing happens that must not."""
    deadline_s = time.monotonic() + for_s
    while time.monotonic() < deadline_s:
        seen = condition()
        assert seen, f"{reason} (seen: {seen!r})"
        _never.wait(every_s)


def answers(question: Callable[[], Seen]) -> Seen | None:
    """What `question` returns, or None while nobody is there to answer it (refused, reset, no file yet)."""
    try:
        return question()
    except OSError:
        return None
