"""What an operator orders for one endpoint. An order is taken whole or refused whole.

It lies over the file and outlives a reload, until the file's own value for the same key changes: the later
word holds (lb/core/reload.py compares).
"""

from __future__ import annotations

from lb.core.axes import set_admin, set_weight
from lb.core.events import OperatorOrdered
from lb.core.memory import Memory
from lb.core.transitions import ORDER
from lb.model.endpoint import WEIGHT_MAX, EndpointKey


class UnknownEndpoint(KeyError):
    """No endpoint of the configuration has this key."""

    def __init__(self, key: EndpointKey) -> None:
        super().__init__(key)
        self.key = key

    def __str__(self) -> str:
        return f"there is no endpoint {self.key}"


class OrderRefused(ValueError):
    """The order makes no sense; the text says why."""


def examine(memory: Memory, event: OperatorOrdered) -> None:
    """Raises UnknownEndpoint or OrderRefused, and changes nothing."""
    if event.key not in memory.live:
        raise UnknownEndpoint(event.key)
    if event.admin is None and event.weight is None:
        raise OrderRefused("nothing is ordered: neither admin nor weight")
    if event.weight is not None and not 0 <= event.weight <= WEIGHT_MAX:
        raise OrderRefused(f"a weight is 0 to {WEIGHT_MAX}, not {event.weight}")
    if event.cause not in ORDER:
        raise OrderRefused(f"{event.cause.value} is no cause of an order")


def obey(memory: Memory, event: OperatorOrdered, now: float) -> None:
    """The order was examined."""
    endpoint = memory.live[event.key]
    evidence = f"ordered by {event.who}" if event.who else "ordered"
    if event.weight is not None:
        set_weight(memory, endpoint, event.weight, event.cause, evidence, now)
    if event.admin is not None:
        set_admin(memory, endpoint, event.admin, event.cause, evidence, now)
