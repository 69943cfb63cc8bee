"""A group of endpoints that serve the same thing, and how sessions are spread over them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lb.model.check import NO_CHECKS, Check, Checks
from lb.model.endpoint import Endpoint
from lb.model.proxy import ProxyVersion


class Policy(Enum):
    """How an endpoint is picked among the eligible ones."""

    ROUND_ROBIN = "round_robin"
    LEAST_CONNECTIONS = "least_connections"
    POWER_OF_TWO = "power_of_two"
    PEAK_EWMA = "peak_ewma"
    RANDOM = "random"
    SOURCE_HASH = "source_hash"
    MAGLEV = "maglev"


class HashOn(Enum):
    """What a hashing policy looks at."""

    SOURCE_IP = "source_ip"
    SOURCE_IP_PORT = "source_ip_port"
    SNI = "sni"


@dataclass(frozen=True, slots=True)
class ConnectRule:
    """`timeout_s` is above the first retransmission of a SYN (1 s). `attempts_max` includes the first.

    `retry_budget_percent`: sessions on a further attempt, as a share of the pool's open ones (Envoy's rule
    and default). `source`: hosts to connect from, each in turn; empty: what the kernel chooses.
    """

    timeout_s: float = 1.2
    attempts_max: int = 3
    retry_budget_percent: int = 20
    source: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HashRule:
    """For source_hash and maglev. `table`: slots of Maglev's table, a prime number (65537: the paper's,
    Envoy's and Katran's). `bound_percent`: no endpoint gets more than this share of the average load; 0: no
    bound. `key`: a secret, so that clients cannot aim at an endpoint; instances with one key agree.
    """

    on: HashOn = HashOn.SOURCE_IP
    table: int = 65537
    bound_percent: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True)
class QueueRule:
    """How many sessions may wait for room when every endpoint is at its sessions_max; 0: none."""

    max: int = 0
    timeout_s: float = 5.0


class OnAllDown(Enum):
    """What becomes of new sessions while no endpoint is eligible. ANY: they go to whoever is READY, whatever
    is known of its health."""

    REJECT = "reject"
    ANY = "any"


@dataclass(frozen=True, slots=True)
class OutlierRule:
    """When an endpoint that fails sessions is set aside: so many in a row could not connect, were reset
    before its first byte, or (`first_byte_timeout_s` > 0) had asked and got none in time.
    `eject_max_percent` of the pool at most, and never so that fewer than `min_eligible` are left."""

    consecutive_failures: int = 5
    first_byte_timeout_s: float = 0.0
    ejection_s: float = 30.0
    ejection_max_s: float = 300.0
    eject_max_percent: int = 10
    min_eligible: int = 1


@dataclass(frozen=True, slots=True)
class Pool:
    """`drain_s` bounds how long a removed or drained endpoint keeps its sessions.

    `close_after_s` says what becomes of the sessions of an endpoint that went DOWN (`on_down`): None keeps
    them, 0 closes them at once, more closes them that much later unless the endpoint is UP again.

    `slow_start_s`: how long an endpoint that comes back grows into its share; 0: it has it at once.
    `overprovision_percent`: how much more than its share a level can carry. `prefer_zone`: endpoints of this
    zone come before others of their priority.
    `panic_percent`: while less than this share of the READY endpoints is eligible, all of them are; 0: never.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    policy: Policy = Policy.ROUND_ROBIN
    check: Check | Checks | None = None
    connect: ConnectRule = ConnectRule()
    drain_s: float = 60.0
    close_after_s: float | None = None
    queue: QueueRule = QueueRule()
    hash: HashRule = HashRule()
    send_proxy: ProxyVersion | None = None
    outlier: OutlierRule | None = OutlierRule()
    on_all_down: OnAllDown = OnAllDown.REJECT
    panic_percent: int = 0
    slow_start_s: float = 0.0
    overprovision_percent: int = 140
    prefer_zone: str | None = None

    @property
    def checks(self) -> Checks:
        if isinstance(self.check, Check):
            return Checks((self.check,))
        return self.check or NO_CHECKS
