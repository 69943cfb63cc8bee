"""Weighted round robin as a table: the order in which a cursor meets the endpoints of a pool.

Facts
    An endpoint of weight w out of W is due w turns in W. A cursor that walks a table costs the data path one
    look-up; the work of being smooth is done here, once per change.

The order
    This is the chairman assignment of R. Tijdeman (Discrete Mathematics 32, 1980). Turn k (from 0) of an
    endpoint becomes possible once its share has reached k + 1/d turns, and is due when its share reaches
    k + 1 - 1/d, where d = 2n - 2 for n endpoints. At each turn the one that is due first goes.

Consequence
    After any number of turns every endpoint has had its share to within 1 - 1/d of a turn. No order can
    promise a smaller bound for every n and every weight.

Rejected
    nginx's current weights: the same smoothness in practice, without the bound, and n steps for each turn
    where two operations on a heap do. Evenly spaced positions, sorted: faster still, but endpoints of
    different weights meet in the middle of the table and crowd there (measured: up to 2.8 turns off,
    against 1.8).

Invariants
    Every endpoint with a weight has at least one turn. A table has at most SCHEDULE_MAX turns: weights are
    divided by their greatest common divisor, and scaled down where that is not enough.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heappop, heappush
from math import gcd
from typing import NamedTuple

# 64 endpoints with weights up to 256 and no common divisor fit as they are. 15 ms to make, 64 KiB to publish.
SCHEDULE_MAX = 16384


class Share(NamedTuple):
    """An endpoint's id and its weight, which is at least 1."""

    endpoint_id: int
    weight: int


def schedule(shares: Sequence[Share]) -> tuple[int, ...]:
    """Endpoint ids in the order of their turns. Equal weights take turns in the order given."""
    ids = [share.endpoint_id for share in shares]
    weights = reduced([share.weight for share in shares])
    if len(ids) < 2 or max(weights) == 1:
        return tuple(ids)
    return tuple([ids[index] for index in turns(weights)])


def reduced(weights: Sequence[int]) -> list[int]:
    """The smallest weights in the same proportion, or near it where the table would be too long."""
    total = sum(weights) // gcd(*weights) if weights else 0
    if total > SCHEDULE_MAX:
        room, total = SCHEDULE_MAX - len(weights), sum(weights)  # rounding adds less than a turn for each
        weights = [max(1, (2 * weight * room + total) // (2 * total)) for weight in weights]
    divisor = gcd(*weights)
    return [weight // divisor for weight in weights]


def turns(weights: Sequence[int]) -> list[int]:
    """Whose turn it is, as an index into `weights`, for each of sum(weights) turns. Needs two weights."""
    total = sum(weights)
    margin = 2 * len(weights) - 2  # d of the docstring
    order: list[int] = []
    possible: list[tuple[float, int, int]] = []  # when it is due, index, which turn of this endpoint: a heap
    becoming: list[list[tuple[float, int, int]]] = [[] for _ in range(total)]  # by the turn they wait for
    becoming[0] = [((margin - 1) / (margin * weight), index, 0) for index, weight in enumerate(weights)]
    for turn in range(total):
        for entry in becoming[turn]:
            heappush(possible, entry)
        _, index, count = heappop(possible)
        order.append(index)
        count += 1
        weight = weights[index]
        if count < weight:
            # Whole numbers throughout, and one division that rounds correctly: equal times compare as equal.
            opens = -((count * margin + 1) * total // (-margin * weight)) - 1
            due = (count * margin + margin - 1) / (margin * weight)
            becoming[max(opens, turn + 1)].append((due, index, count))
    return order
