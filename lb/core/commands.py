"""What is to be done, in the imperative. The shell performs each in order and reports back by events."""

from __future__ import annotations

from dataclasses import dataclass

from lb.model.address import SocketAddress
from lb.model.cause import Reason
from lb.model.check import Check
from lb.model.endpoint import EndpointKey
from lb.model.record import Record
from lb.model.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class PublishSnapshot:
    """To every worker, now and to each that starts later, until the next one."""

    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class StartProbe:
    """`probe` is unique over the life of the brain. Answer: ProbeFinished. One per endpoint at a time."""

    probe: int
    key: EndpointKey
    address: SocketAddress
    check: Check


@dataclass(frozen=True, slots=True)
class CancelProbe:
    probe: int


@dataclass(frozen=True, slots=True)
class CloseSessions:
    """End the sessions of an endpoint, or of a listener, in every worker. Exactly one id is not None."""

    reason: Reason
    endpoint_id: int | None = None
    listener_id: int | None = None


@dataclass(frozen=True, slots=True)
class ForgetEndpoint:
    """The id was freed: the endpoint's counters and series go, for the id may be given to another."""

    endpoint_id: int
    key: EndpointKey


@dataclass(frozen=True, slots=True)
class ForgetListener:
    listener_id: int
    name: str


@dataclass(frozen=True, slots=True)
class ForgetPool:
    pool_id: int
    name: str


@dataclass(frozen=True, slots=True)
class CountSessions:
    """Something drains: answer with SessionsCounted."""


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Send Tick at this time, in the seconds of `now`. Replaces the time asked for before."""

    at_s: float


@dataclass(frozen=True, slots=True)
class Emit:
    record: Record


Command = (
    PublishSnapshot
    | StartProbe
    | CancelProbe
    | CloseSessions
    | ForgetEndpoint
    | ForgetListener
    | ForgetPool
    | CountSessions
    | WakeAt
    | Emit
)
