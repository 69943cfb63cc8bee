"""Flap damping: an endpoint that comes and goes is kept away, longer each time.

    DOWN for the n-th time within the window      held DOWN for
    1                                             0
    2, 3, 4, ...                                  2 s, 4 s, 8 s, ... up to hold_down_max

Sessions that an endpoint takes while it is UP for a moment are sessions that it soon loses; one that is away
longer than it had to be costs capacity. So the first relapse costs little and the tenth costs minutes, and an
endpoint that has been well for the length of the window begins anew. The doubling is that of the route flap
damping of BGP turned round: a hold of known length, so that an operator can be told how long it will be.
"""

from __future__ import annotations

from collections.abc import Sequence

from lb.model.check import Damping

FIRST_HOLD_S = 2.0
DOWNS_MAX = 32  # that are remembered; so many doublings pass any bound


def hold_down_s(damping: Damping, downs_s: Sequence[float], now: float) -> float:
    """How long an endpoint is held that goes DOWN now. `downs_s`: when it went DOWN before."""
    count = sum(now - down_s < damping.window_s for down_s in downs_s)
    return min(damping.hold_down_max_s, FIRST_HOLD_S * 2 ** (count - 1)) if count else 0.0
