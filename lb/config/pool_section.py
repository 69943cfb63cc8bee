"""What the file may say of a pool and its endpoints."""

from __future__ import annotations

from typing import Annotated

from lb.config import shorthand
from lb.config.check_section import CheckSection
from lb.config.leaf import Count, Duration, Either, IpPort, Word
from lb.config.section import LONGEST, NAME, SESSIONS_MAX, Section, defaults, keys
from lb.model.address import Address
from lb.model.endpoint import WEIGHT_MAX, Endpoint
from lb.model.pool import ConnectRule, Policy, Pool

ENDPOINT = defaults(Endpoint)
CONNECT_RULE = defaults(ConnectRule)
POOL = defaults(Pool)

POLICIES = tuple(policy.value for policy in Policy)
LATER_POLICIES = ("power_of_two", "peak_ewma", "random", "source_hash", "maglev")


class EndpointSection(Section):
    later = keys("priority zone labels session_capacity")

    name: Annotated[str | None, Either(None, NAME)] = None
    """How it is called in orders, logs and metrics; empty: its address."""
    address: Annotated[Address, IpPort(listens=False)]
    """ADDRESS:PORT, IPv6 in brackets. Two endpoints may share one under different names."""
    weight: Annotated[int, Count(0, WEIGHT_MAX)] = ENDPOINT.weight
    """Its share of new sessions, relative to the others; 0: none."""
    sessions_max: Annotated[int, Count(0, SESSIONS_MAX)] = ENDPOINT.sessions_max
    """Most sessions at a time; 0: no limit. Several workers may pass it by one each, less one."""
    admin: Annotated[str, Word(("ready", "drain", "maint"))] = ENDPOINT.admin.value.lower()
    """ready; drain: no new sessions; maint: none, and no probes either."""


class ConnectSection(Section):
    later = keys("retry_budget_percent source")

    timeout: Annotated[float, Duration("10ms", "60s")] = CONNECT_RULE.timeout_s
    """For one attempt to connect to an endpoint."""
    attempts_max: Annotated[int, Count(1, 8)] = CONNECT_RULE.attempts_max
    """Endpoints a session tries before it ends, the first one included."""


class OnDownSection(Section):
    close_after: Annotated[float, Duration("0s", LONGEST)]
    """Close them this much later, unless the endpoint is UP again."""


class PoolSection(Section):
    later = keys(
        "discover outlier slow_start on_all_down panic_percent overprovision_percent prefer_zone queue hash"
        " send_proxy role lag_max fallback tier objective redundancy"
    )

    endpoints: list[Annotated[EndpointSection, shorthand.ADDRESS]]
    """The members: each an ADDRESS:PORT, or a mapping."""
    policy: Annotated[str, Word(tuple(policy.value for policy in Policy), LATER_POLICIES)] = POOL.policy.value
    """How an endpoint is picked among the eligible ones."""
    check: CheckSection | None = None
    """How health is observed; empty: not at all, and every endpoint is eligible."""
    connect: ConnectSection = ConnectSection()
    """Connecting to an endpoint."""
    drain: Annotated[float, Duration("0s", LONGEST)] = POOL.drain_s
    """How long an endpoint that was removed or drained may keep its sessions."""
    on_down: Annotated[OnDownSection | None, shorthand.ON_DOWN] = None
    """What becomes of the sessions of an endpoint that went DOWN: keep, close or {close_after: 30s}."""
