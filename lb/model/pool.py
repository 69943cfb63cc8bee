"""A group of endpoints that serve the same thing, and how sessions are spread over them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lb.model.check import Check
from lb.model.endpoint import Endpoint


class Policy(Enum):
    """How an endpoint is picked among the eligible ones."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"


@dataclass(frozen=True, slots=True)
class ConnectRule:
    """`timeout_s` is above the first retransmission of a SYN (1 s). `attempts_max` includes the first."""

    timeout_s: float = 1.2
    attempts_max: int = 3


@dataclass(frozen=True, slots=True)
class Pool:
    """`drain_s` bounds how long a removed or drained endpoint keeps its sessions.

    `close_after_s` says what becomes of the sessions of an endpoint that went DOWN (`on_down`): None keeps
    them, 0 closes them at once, more closes them that much later unless the endpoint is UP again.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    policy: Policy = Policy.ROUND_ROBIN
    check: Check | None = None
    connect: ConnectRule = ConnectRule()
    drain_s: float = 60.0
    close_after_s: float | None = None
