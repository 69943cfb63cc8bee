"""What workers are told: the compiled configuration and state, as plain numbers.

`endpoints`, `pools` and `listeners` are indexed by stable id; None is a free id. An id is used again only
after its last session ended, so a session may hold an id across any number of snapshots. An endpoint that was
removed and still has sessions stays here, without being eligible, and so does a listener's line.
"""

from __future__ import annotations

from dataclasses import dataclass

from lb.model.address import Address
from lb.model.pool import Policy


@dataclass(frozen=True, slots=True)
class EndpointLine:
    """`pool` is the pool's name, for the log. `weight` is the effective one."""

    name: str
    pool: str
    address: Address
    weight: int
    sessions_max: int


@dataclass(frozen=True, slots=True)
class PoolLine:
    """`eligible`: endpoint ids. `schedule`: endpoint ids in the order that round robin walks, by weight."""

    name: str
    policy: Policy
    connect_timeout_ms: int
    attempts_max: int
    eligible: tuple[int, ...]
    schedule: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ListenerLine:
    """`pool` is a pool id. Keepalive (0, 0, 0): off."""

    name: str
    pool: int
    sessions_max: int
    idle_ms: int
    half_close_ms: int
    reset_linger_ms: int
    keepalive_s: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    generation: int
    listeners: tuple[ListenerLine | None, ...]
    pools: tuple[PoolLine | None, ...]
    endpoints: tuple[EndpointLine | None, ...]
