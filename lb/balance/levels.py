"""Priority levels: who carries the load, and who when those cannot (Envoy's arithmetic).

    health of a level   overprovision x (what is eligible of it) / (all of it), at most 100
    load of a level     what the levels before it leave, up to its own health; where the healths of all come
                        to less than 100, each gets its part of their sum

By weight, and one that ramps counts with the part that it has. So with an overprovision of 140 % a level that
has lost up to 28 % of its weight still carries all; and a level that comes back takes its load over as it
ramps up, not at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

SHARES = 10_000  # into which the load of a pool is divided where levels share it


def loads(levels: Sequence[tuple[int, int]], overprovision_percent: int) -> list[Fraction]:
    """The part of each level, in their order; of (eligible weight, whole weight). All 0 where nothing is
    eligible."""
    healths = [
        min(Fraction(1), Fraction(overprovision_percent * able, 100 * whole)) if whole else Fraction(0)
        for able, whole in levels
    ]
    total = min(Fraction(1), sum(healths, Fraction(0)))
    left, found = Fraction(1), []
    for health in healths:
        load = min(left, health / total) if total else Fraction(0)
        left -= load
        found.append(load)
    return found


def part(load: Fraction, weight: int, total: int) -> int:
    """Of an endpoint of this weight, in a level of this load, whose eligible ones weigh `total`: a whole
    number, as all of them come to load x SHARES or nearly."""
    return max(1, round(load * SHARES * weight / total)) if weight else 0
