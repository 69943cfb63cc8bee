"""The streak: the run of equal results that `rise` and `fall` are compared with.

One signed number says all: +n after n passes in a row, -n after n failures, 0 before the first result. Any
opposite result starts a new run at one, so two failures, a pass and a failure are a streak of one, whatever
the health was meanwhile. The verdict changes at the result that completes a run and at no other.

UNKNOWN has nothing to defend: the first result decides.
"""

from __future__ import annotations

from lb.model.check import Check
from lb.model.endpoint import Health


def extended(streak: int, ok: bool) -> int:
    """The streak after one more result."""
    if ok:
        return max(streak, 0) + 1
    return min(streak, 0) - 1


def verdict(health: Health, streak: int, check: Check) -> Health:
    """The health that this streak proves, given what was known before it."""
    undecided = health is Health.UNKNOWN
    if streak >= (1 if undecided else check.rise):
        return Health.UP
    if -streak >= (1 if undecided else check.fall):
        return Health.DOWN
    return health


def is_changing(health: Health, streak: int) -> bool:
    """A streak runs against the health: it may be about to change."""
    return (health is Health.UP and streak < 0) or (health is Health.DOWN and streak > 0)
