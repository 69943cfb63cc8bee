"""What the brain knows of each endpoint, pool and listener: fields, and who may write them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from lb.model.check import NO_CHECKS, Certificate, Check, Checks, ProbeResult
from lb.model.endpoint import WEIGHT_MAX, Admin, Agent, Endpoint, EndpointKey, Health
from lb.model.listener import Listener
from lb.model.pool import Pool

RAMP_FULL = 10


@dataclass(slots=True, eq=False)
class PoolState:
    """`endpoints` are those of the configuration, by name. One that was removed keeps its pool here, for its
    name and for `drain_s`."""

    id: int
    pool: Pool
    checks: Checks = NO_CHECKS  # as the pool has them
    endpoints: dict[str, EndpointState] = field(default_factory=dict)
    removed: bool = False
    is_empty: bool = False  # nothing was eligible at last
    panics: bool = False  # health was ignored at last
    ramping: set[int] = field(default_factory=set)  # ids of endpoints that have not their whole share
    withheld_told_s: float = float("-inf")  # when it was last said that no more may be ejected


@dataclass(slots=True, eq=False)
class ListenerState:
    """`removed_s` None: it stands in the configuration."""

    id: int
    listener: Listener
    removed_s: float | None = None


@dataclass(slots=True, eq=False)
class CheckState:
    """One check of one endpoint: what its probes have shown. `health` is the verdict of this check alone.
    Written by lb/core/probes.py and lb/core/observations.py; lb/core/axes.py makes it anew."""

    place: int  # among the checks of the pool
    check: Check
    health: Health = Health.UNKNOWN
    probe: int | None = None  # the number of the one that runs
    probe_started_s: float = float("-inf")  # the one that runs, or the last
    streak: int = 0
    last_result: ProbeResult | None = None
    last_run_s: float | None = None
    agent_said_down: bool = False  # and nothing else since
    downs_s: tuple[float, ...] = ()  # when it went DOWN
    held_until_s: float = float("-inf")  # DOWN at least until then
    passes_since: int = 0  # in a row, since the endpoint was ejected
    certificate: Certificate | None = None  # the last that a probe was shown
    certificate_warned: tuple[float, bool] | None = None  # of the one that expires then, and whether it has


@dataclass(slots=True, eq=False)
class EndpointState:
    id: int
    key: EndpointKey
    pool: PoolState
    endpoint: Endpoint

    # The axes. Written by lb/core/transitions.py alone.
    weight: int
    health: Health = Health.UNKNOWN
    admin: Admin = Admin.READY
    agent: Agent = Agent.READY
    agent_percent: int = 100  # of the weight
    ejected: bool = False
    ramp: int = RAMP_FULL  # tenths of its share
    eligible: bool = False
    share: int = 0  # the weight that the data path has; written by lb/core/publication.py
    since_s: float = 0.0  # the last change of health, admin or eligible
    transitions: Counter[tuple[str, str]] = field(default_factory=Counter)  # of health and admin: (to, cause)

    # Observation.
    checks: list[CheckState] = field(default_factory=list)  # made by lb/core/axes.py
    checked_by: Checks = NO_CHECKS  # what they were made from
    down_since_s: float = 0.0  # means something while health is DOWN

    # Slow start. Written by lb/core/ramps.py.
    ramp_from_s: float = 0.0  # means something while it ramps
    was_up: bool = False  # since lb started, or since it came later: the next time it is UP it comes back

    # Ejection. Written by lb/core/ejections.py.
    in_row: int = 0  # sessions that failed, as was told last
    in_row_before: int = 0  # of these, those of the time before it came back
    ejections: int = 0  # in a row
    ejections_total: int = 0
    ejected_s: float = float("-inf")  # the last time
    returned_s: float = float("-inf")

    # The way out. `removed` is written by lb/core/reload.py, the rest by lb/core/drains.py.
    removed: bool = False
    drain_since_s: float | None = None  # None: it does not drain
    is_drained: bool = False  # nothing was open at some count since

    def __post_init__(self) -> None:
        self.share = self.weight

    def __str__(self) -> str:
        return str(self.key)

    @property
    def level(self) -> tuple[int, bool]:
        """In the order in which they serve."""
        zone = self.pool.pool.prefer_zone
        return self.endpoint.priority, zone is not None and self.endpoint.zone != zone

    @property
    def able(self) -> int:
        """The weight that counts now: in tenths while somebody in the pool ramps."""
        return self.weight_effective * self.ramp if self.pool.ramping else self.weight_effective

    @property
    def sessions_max_effective(self) -> int:
        sessions_max = self.endpoint.sessions_max
        return max(1, sessions_max * self.ramp // RAMP_FULL) if sessions_max else 0

    @property
    def weight_effective(self) -> int:
        """What the agent leaves of the weight; it is not rounded to nothing."""
        scaled = round(self.weight * self.agent_percent / 100)
        return min(WEIGHT_MAX, max(scaled, 1)) if self.weight and self.agent_percent else 0
