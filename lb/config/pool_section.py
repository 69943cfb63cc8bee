"""What the file may say of a pool and its endpoints."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lb.config import shorthand
from lb.config.addresses import Host, Target
from lb.config.check_section import PROXY_VERSIONS, PoolCheckSection
from lb.config.leaf import Either, Secret, Word
from lb.config.numbers import Count, Duration, Prime, ZeroOr
from lb.config.section import LONGEST, NAME, SESSIONS_MAX, Section, defaults, keys
from lb.model.address import SocketAddress
from lb.model.endpoint import WEIGHT_MAX, Endpoint
from lb.model.pool import ConnectRule, HashOn, HashRule, OnAllDown, OutlierRule, Policy, Pool, QueueRule

ENDPOINT = defaults(Endpoint)
OUTLIER_RULE = defaults(OutlierRule)
CONNECT_RULE = defaults(ConnectRule)
HASH_RULE = defaults(HashRule)
QUEUE_RULE = defaults(QueueRule)
POOL = defaults(Pool)

POLICIES = tuple(policy.value for policy in Policy)

TABLE_MIN, TABLE_MAX = 101, 5_000_011  # the larger one is Envoy's bound
BOUND_MIN, BOUND_MAX = 101, 1000  # at 100 percent of the average no endpoint would have room for one more
SOURCES_MAX = 64
FEW = Field(max_length=SOURCES_MAX)


class EndpointSection(Section):
    later = keys("labels session_capacity")

    name: Annotated[str | None, Either(None, NAME)] = None
    """How it is called in orders, logs and metrics; empty: its address."""
    address: Annotated[SocketAddress, Target()]
    """ADDRESS:PORT, IPv6 in brackets, or unix:/path (of a socket; when its queue is full it refuses). Two
    endpoints may share one under different names."""
    weight: Annotated[int, Count(0, WEIGHT_MAX)] = ENDPOINT.weight
    """Its share of new sessions, relative to the others; 0: none."""
    sessions_max: Annotated[int, Count(0, SESSIONS_MAX, "sessions")] = ENDPOINT.sessions_max
    """Most sessions at a time; 0: no limit. Several workers may pass it by one each, less one."""
    priority: Annotated[int, Count(0, 15)] = ENDPOINT.priority
    """Its level: endpoints of 1 serve where those of 0 cannot carry the load, and so on (active-standby)."""
    zone: Annotated[str | None, Either(None, NAME)] = ENDPOINT.zone
    """Where it stands."""
    admin: Annotated[str, Word(("ready", "drain", "maint"))] = ENDPOINT.admin.value.lower()
    """ready; drain: no new sessions; maint: none, and no probes either."""


class ConnectSection(Section):
    timeout: Annotated[float, Duration("10ms", "60s")] = CONNECT_RULE.timeout_s
    """For one attempt to connect to an endpoint."""
    attempts_max: Annotated[int, Count(1, 8, "attempts")] = CONNECT_RULE.attempts_max
    """Endpoints a session tries before it ends, the first one included."""
    retry_budget_percent: Annotated[int, Count(0, 100, "percent")] = CONNECT_RULE.retry_budget_percent
    """Sessions on a further attempt, as a share of the open ones of the pool."""
    source: Annotated[list[Annotated[str, Host(ours=True)]], FEW, shorthand.ONE] = []  # noqa: RUF012
    """Addresses of this machine to connect from, each in turn, to endpoints of its family: one, or a list;
    empty: the kernel chooses."""


class OutlierSection(Section):
    later = keys("success_rate")

    consecutive_failures: Annotated[int, Count(1, 1000, "sessions")] = OUTLIER_RULE.consecutive_failures
    """So many sessions in a row that could not connect, were reset before the first byte, or got none in
    time."""
    first_byte_timeout: Annotated[float, Duration("0s", "1h")] = OUTLIER_RULE.first_byte_timeout_s
    """A session that asked and got no byte back for so long has failed, and goes on; 0s: it has not."""
    ejection: Annotated[float, Duration("100ms", "1d")] = OUTLIER_RULE.ejection_s
    """How long an endpoint is set aside; the second time in a row twice as long, and so on. The first time it
    returns sooner if its check passes `rise` times."""
    ejection_max: Annotated[float, Duration("100ms", "1d")] = OUTLIER_RULE.ejection_max_s
    """The longest that it is set aside."""
    eject_max_percent: Annotated[int, Count(0, 100, "percent")] = OUTLIER_RULE.eject_max_percent
    """How much of the pool may be set aside at a time, rounded up to whole endpoints."""
    min_eligible: Annotated[int, Count(1, 1000, "endpoints")] = OUTLIER_RULE.min_eligible
    """How many others must be left to serve."""


class HashSection(Section):
    on: Annotated[str, Word(tuple(on.value for on in HashOn), later=("quic_cid",))] = HASH_RULE.on.value
    """What is hashed: the client's address, that and its port, or the name in the TLS ClientHello."""
    table: Annotated[int, Prime(TABLE_MIN, TABLE_MAX, "slots")] = HASH_RULE.table
    """Of maglev, the size of its table: a prime number, 100 times as many as endpoints or more."""
    bound_percent: Annotated[int, ZeroOr(BOUND_MIN, BOUND_MAX, "percent")] = HASH_RULE.bound_percent
    """No endpoint gets more than this share of the average load; what is past it goes elsewhere; 0: no
    bound."""
    key: Annotated[str, Secret("a text of up to 255 characters", r"[^\x00-\x1f]*")] = HASH_RULE.key
    """A secret, so that nobody can aim at an endpoint; instances of lb with the same one agree."""


class QueueSection(Section):
    max: Annotated[int, Count(0, SESSIONS_MAX, "sessions")] = QUEUE_RULE.max
    """How many sessions may wait for room while every endpoint is at its sessions_max, over all workers; the
    first to come is the first served; 0: none."""
    timeout: Annotated[float, Duration("10ms", "1h")] = QUEUE_RULE.timeout_s
    """How long one waits before it is refused."""


class OnDownSection(Section):
    close_after: Annotated[float, Duration("0s", LONGEST)]
    """Close them this much later, unless the endpoint is UP again."""


class PoolSection(Section):
    later = keys("discover role lag_max fallback tier objective redundancy")

    endpoints: list[Annotated[EndpointSection, shorthand.ADDRESS]]
    """The members: each an address, or a mapping."""
    policy: Annotated[str, Word(POLICIES)] = POOL.policy.value
    """How an endpoint is picked among the eligible ones."""
    hash: HashSection = HashSection()
    """For the policies source_hash and maglev."""
    check: PoolCheckSection | None = None
    """How health is observed, by one check or several; empty: not at all, and every endpoint is eligible."""
    outlier: Annotated[OutlierSection | None, shorthand.OFF] = OutlierSection()
    """Endpoints that fail sessions in a row are set aside for a while, whatever their check says; off: they
    are not."""
    connect: ConnectSection = ConnectSection()
    """Connecting to an endpoint."""
    queue: QueueSection = QueueSection()
    """Waiting for room."""
    send_proxy: Annotated[str | None, Either(None, Word(PROXY_VERSIONS))] = None
    """Open each connection to an endpoint with a PROXY header that names the client: v1, v2; empty: none."""
    drain: Annotated[float, Duration("0s", LONGEST)] = POOL.drain_s
    """How long an endpoint that was removed or drained may keep its sessions."""
    slow_start: Annotated[float, Duration("0s", "1h")] = POOL.slow_start_s
    """How long an endpoint that comes back grows into its share, and into its sessions_max, by tenths; 0s: it
    has them at once. Not at the start of lb."""
    overprovision_percent: Annotated[int, Count(100, 1000, "percent")] = POOL.overprovision_percent
    """How much more than its share of the load a level can carry: at 140 it may lose 28 % of its weight
    before the next one gets sessions."""
    prefer_zone: Annotated[str | None, Either(None, NAME)] = POOL.prefer_zone
    """Endpoints of this zone come before others of their priority; empty: zones do not matter."""
    on_all_down: Annotated[str, Word(tuple(word.value for word in OnAllDown))] = POOL.on_all_down.value
    """New sessions while no endpoint is eligible: reject (they are reset), or any (they go to whoever is
    ready, whatever its health)."""
    panic_percent: Annotated[int, Count(0, 100, "percent")] = POOL.panic_percent
    """While less than this share of the ready endpoints is eligible, all of them are, whatever their health:
    those that are left would be overrun; 0: never."""
    on_down: Annotated[OnDownSection | None, shorthand.ON_DOWN] = None
    """What becomes of the sessions of an endpoint that went DOWN: keep, close or {close_after: 30s}."""
