"""What workers are told: the compiled configuration and state, as plain numbers.

`endpoints`, `pools` and `listeners` are indexed by stable id; None is a free id. An id is used again only
after its last session ended, so a session may hold an id across any number of snapshots. An endpoint that was
removed and still has sessions stays here, without being eligible, and so does a listener's line.
"""

from __future__ import annotations

from dataclasses import dataclass

from lb.model.address import SocketAddress
from lb.model.listener import RefuseBy
from lb.model.networks import Networks
from lb.model.pool import HashOn, Policy
from lb.model.proxy import ProxyVersion


@dataclass(frozen=True, slots=True)
class EndpointLine:
    """`pool` is the pool's name, for the log. `weight` is the effective one."""

    name: str
    pool: str
    address: SocketAddress
    weight: int
    sessions_max: int


@dataclass(frozen=True, slots=True)
class HashTable:
    """What a hashing policy looks up. `members` are (endpoint id, name, weight), in order of the names, and
    all that could be eligible by their weight: health moves the sessions of an endpoint, not the table.

    `size` 0: not Maglev's table but one entry per unit of weight. `key`: 16 bytes.
    """

    on: HashOn
    size: int
    key: bytes
    bound_percent: int
    members: tuple[tuple[int, str, int], ...]


@dataclass(frozen=True, slots=True)
class PoolLine:
    """`eligible`: endpoint ids. `schedule`: endpoint ids in the order that round robin walks, by weight;
    random policies draw from it. `hash` None: the policy does not hash. `sources`: hosts to connect from."""

    name: str
    policy: Policy
    connect_timeout_ms: int
    attempts_max: int
    eligible: tuple[int, ...]
    schedule: tuple[int, ...]
    retry_budget_percent: int = 20
    queue_max: int = 0
    queue_timeout_ms: int = 5000
    hash: HashTable | None = None
    send_proxy: ProxyVersion | None = None
    sources: tuple[str, ...] = ()
    first_byte_timeout_ms: int = 0


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
    routing_ms: int = 5000
    age_max_ms: int = 0
    user_timeout_ms: int = 30000
    upload_max: int = 0
    download_max: int = 0
    allow: Networks | None = None
    deny: Networks | None = None
    accept_proxy: Networks | None = None
    refuse_by: RefuseBy = RefuseBy.RESET
    dry_run: bool = False
    sessions_max_per_source: int = 0
    rate_max: int = 0
    rate_max_per_source: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """`access_rate_max`: lines of the access log per second, over all workers; 0: no bound."""

    generation: int
    listeners: tuple[ListenerLine | None, ...]
    pools: tuple[PoolLine | None, ...]
    endpoints: tuple[EndpointLine | None, ...]
    access_rate_max: int = 0
