"""What happened, in the past participle. The brain learns of the world by these alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lb.model.cause import Cause
from lb.model.check import ProbeResult
from lb.model.config import Config
from lb.model.endpoint import Admin, EndpointKey


@dataclass(frozen=True, slots=True)
class ConfigLoaded:
    """A configuration that is valid and whose listeners are bound. The first one starts the process."""

    config: Config


@dataclass(frozen=True, slots=True)
class ProbeFinished:
    """`probe` is the number that StartProbe gave; an answer nobody waits for any more is dropped.

    `late`: the loop turned more than 100 ms late while the probe waited, so a timeout proves nothing; the
    probe is repeated at once.
    """

    probe: int
    key: EndpointKey
    result: ProbeResult
    late: bool = False


@dataclass(frozen=True, slots=True)
class SessionsFailed:
    """The endpoint with this id failed sessions; `reasons` counts them by reason. `in_row`: how many these
    and those before came to without one that it did not fail."""

    endpoint_id: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    in_row: int = 0


@dataclass(frozen=True, slots=True)
class OperatorOrdered:
    """An order for one endpoint: `admin`, or None to leave it; `weight`, or None to leave it."""

    key: EndpointKey
    admin: Admin | None = None
    weight: int | None = None
    who: str = ""
    cause: Cause = Cause.OPERATOR


@dataclass(frozen=True, slots=True)
class SessionsCounted:
    """Open sessions over all workers, by endpoint id and by listener id; absent means 0."""

    endpoints: Mapping[int, int]
    listeners: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that WakeAt asked for has come."""


Event = ConfigLoaded | ProbeFinished | SessionsFailed | OperatorOrdered | SessionsCounted | Tick
