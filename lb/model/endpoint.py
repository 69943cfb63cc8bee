"""A member of a pool: what the operator wrote of it, and the separate axes of its state.

*Health* is observed, *admin* is ordered; neither is ever written because of the other. `eligible` is derived
from both in one function (lb/core/transitions.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from lb.model.address import SocketAddress

WEIGHT_MAX = 256  # HAProxy's bound


class Health(Enum):
    """What probes have shown. UNKNOWN until the first verdict."""

    UNKNOWN = "UNKNOWN"
    UP = "UP"
    DOWN = "DOWN"


class Admin(Enum):
    """What was ordered. DRAIN: no new sessions. MAINT: none, and no probes either."""

    READY = "READY"
    DRAIN = "DRAIN"
    MAINT = "MAINT"


class Agent(Enum):
    """What the endpoint's agent wants. It is probed on in MAINT, or its agent would not be heard again."""

    READY = "READY"
    DRAIN = "DRAIN"
    MAINT = "MAINT"


class EndpointKey(NamedTuple):
    """How an endpoint is named from outside: `POOL/ENDPOINT`. Names are unique within a pool."""

    pool: str
    endpoint: str

    def __str__(self) -> str:
        return f"{self.pool}/{self.endpoint}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`name` defaults to the text of the address. `weight` 0: no new sessions. `sessions_max` 0: no limit.
    `priority`: its level; those of a higher number serve where the lower ones cannot carry the load."""

    name: str
    address: SocketAddress
    weight: int = 1
    sessions_max: int = 0
    admin: Admin = Admin.READY
    priority: int = 0
    zone: str | None = None
