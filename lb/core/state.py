"""What the brain knows of each endpoint, pool and listener: fields, and who may write them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lb.model.check import Certificate, Check, ProbeResult
from lb.model.endpoint import Admin, Endpoint, EndpointKey, Health
from lb.model.listener import Listener
from lb.model.pool import Pool


@dataclass(slots=True, eq=False)
class PoolState:
    """`endpoints` are those of the configuration, by name. One that was removed keeps its pool here, for its
    name and for `drain_s`."""

    id: int
    pool: Pool
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    removed: bool = False
    is_empty: bool = False  # nothing was eligible at last


@dataclass(slots=True, eq=False)
class ListenerState:
    """`removed_s` None: it stands in the configuration."""

    id: int
    listener: Listener
    removed_s: float | None = None


@dataclass(slots=True, eq=False)
class EndpointState:
    id: int
    key: EndpointKey
    pool: PoolState
    endpoint: Endpoint
    check: Check | None

    # The axes. Written by lb/core/transitions.py alone.
    weight: int
    health: Health = Health.UNKNOWN
    admin: Admin = Admin.READY
    eligible: bool = False
    since_s: float = 0.0  # the last change of health, admin or eligible
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)  # of health and admin: (to, cause)

    # Observation. Written by lb/core/probes.py and lb/core/observations.py; lb/core/axes.py starts it anew.
    probe: int | None = None  # the number of the one that runs
    probe_started_s: float = float("-inf")  # the one that runs, or the last
    streak: int = 0
    last_result: ProbeResult | None = None
    last_run_s: float | None = None
    certificate: Certificate | None = None  # the last that a probe was shown
    certificate_warned: tuple[float, bool] | None = None  # of the one that expires then, and whether it has
    down_since_s: float = 0.0  # means something while health is DOWN

    # The way out. `removed` is written by lb/core/reload.py, the rest by lb/core/drains.py.
    removed: bool = False
    drain_since_s: float | None = None  # None: it does not drain
    is_drained: bool = False  # nothing was open at some count since

    def __str__(self) -> str:
        return str(self.key)
