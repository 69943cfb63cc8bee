"""lb as its observers see it, without running one: endpoints in each of the states that matter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lb.model.address import Address
from lb.model.cause import Reason
from lb.model.check import Certificate, Check, ProbeResult, TlsRule
from lb.model.config import Config
from lb.model.endpoint import Admin, Agent, Endpoint, EndpointKey, Health
from lb.model.listener import Listener
from lb.model.pool import Policy, Pool
from lb.shell.counts import EndpointCounts, Histogram, ListenerCounts, PoolCounts, WorkerCounts
from lb.shell.observed import LastReload, Observed

NOW_S = 1000.0  # on the loop's clock
WALL_S = 1_700_000_000.0  # the same moment

EMPTY = Histogram((0.001, 0.01), (0, 0, 0), 0.0)
SOME = Histogram((0.001, 0.01), (1, 2, 3), 6.5)
CHECK = Check(interval_s=1.0, rise=2, fall=3)
OVER_TLS = Check(tls=TlsRule())
PASSED = ProbeResult(True, "200 OK", 0.0042)
RELOADED = LastReload(True, WALL_S - 50)


@dataclass(frozen=True)
class FakeCheck:
    check: Check
    health: Health
    streak: int
    last_result: ProbeResult | None
    last_run_s: float | None
    next_run_s: float | None
    certificate: Certificate | None
    held_until_s: float


@dataclass(frozen=True)
class FakeEndpoint:
    id: int
    key: EndpointKey
    address: Address
    health: Health = Health.UP
    admin: Admin = Admin.READY
    agent: Agent = Agent.READY
    ejected: bool = False
    returns_s: float | None = None
    ejections_total: int = 0
    eligible: bool = True
    weight: int = 1
    weight_effective: int = 1
    ramp_percent: int = 100
    priority: int = 0
    zone: str | None = None
    since_s: float = 900.0
    removed: bool = False
    drained: bool = False
    streak: int = 5
    last_result: ProbeResult | None = PASSED
    last_run_s: float | None = 999.5
    next_run_s: float | None = 1000.25
    transitions: Mapping[tuple[str, str], int] = field(default_factory=lambda: {("UP", "PROBE"): 1})
    check: Check | None = CHECK
    certificate: Certificate | None = None
    held_until_s: float = float("-inf")
    any_suffices: bool = False

    @property
    def checks(self) -> list[FakeCheck]:
        if self.check is None:
            return []
        run = (self.streak, self.last_result, self.last_run_s, self.next_run_s)
        return [FakeCheck(self.check, self.health, *run, self.certificate, self.held_until_s)]


@dataclass(frozen=True)
class FakeWorker:
    index: int
    pid: int | None
    state: str
    restarts_total: int


@dataclass(frozen=True)
class FakeFile:
    path: Path = Path("/etc/lb/lb.yaml")
    hash: str = "ab12"
    loaded_at: float = WALL_S - 50
    last: LastReload = RELOADED
    warnings: tuple[str, ...] = ()


class FakeBoard:
    """Endpoint n has n sessions open, of 10 * n in all."""

    def endpoint(self, id: int) -> EndpointCounts:
        return EndpointCounts(id, 10 * id, 100 * id, 1000 * id, {"refused": id, "timeout": 0}, SOME, EMPTY)

    def listener(self, id: int) -> ListenerCounts:
        closed = {reason.value: 0 for reason in Reason} | {"done": 7}
        return ListenerCounts(3, 30, {"limit": 2}, {"refused_acl": 1}, closed, 6, 9, SOME)

    def pool(self, id: int) -> PoolCounts:
        return PoolCounts(4, id, 11, 12, 13)

    def worker(self, index: int) -> WorkerCounts:
        return WorkerCounts(index + 1, 4, 5, 7, 8, 123, SOME, 99)


def address(number: int) -> Address:
    return Address(f"10.0.0.{number}", 80)


def endpoint(number: int, name: str, pool: str = "web", **state: Any) -> FakeEndpoint:
    return FakeEndpoint(number, EndpointKey(pool, name), address(number), **state)


ENDPOINTS = (
    endpoint(4, "gone", removed=True, eligible=False),
    endpoint(1, "a"),
    endpoint(
        2,
        "b",
        health=Health.DOWN,
        eligible=False,
        streak=-4,
        last_result=ProbeResult(False, "connect: refused", 0.001),
        transitions={("DOWN", "PROBE"): 2, ("UP", "PROBE"): 1},
    ),
    endpoint(3, "c", admin=Admin.MAINT, eligible=False, last_result=None, last_run_s=None, next_run_s=None),
    endpoint(5, "new", health=Health.UNKNOWN, last_result=None, last_run_s=None, transitions={}),
    endpoint(6, "db", pool="plain", check=None, last_result=None, last_run_s=None, next_run_s=None),
    endpoint(7, "shown", pool="plain", check=OVER_TLS, certificate=Certificate(1_800_000_000.0, 1e8)),
    endpoint(8, "asked", pool="plain", check=OVER_TLS, last_result=None, last_run_s=None),
)


def config() -> Config:
    members = tuple(Endpoint(view.key.endpoint, view.address) for view in ENDPOINTS if view.key.pool == "web")
    return Config(
        listeners=(Listener("public", (Address("0.0.0.0", 80), Address("::", 80)), "web"),),
        pools=(
            Pool("web", members, check=CHECK),
            Pool("plain", (Endpoint("db", address(6)),), Policy.LEAST_CONNECTIONS),
        ),
    )


def observed(**changed: Any) -> Observed:
    facts: dict[str, Any] = {
        "state": "running",
        "pid": 42,
        "started_at": WALL_S - 100,
        "now_s": NOW_S,
        "wall_s": WALL_S,
        "file": FakeFile(),
        "config": config(),
        "generation": 17,
        "warnings": ("sessions_max was lowered to 1000",),
        "endpoints": ENDPOINTS,
        "listener_ids": {"public": 0},
        "pool_ids": {"web": 0, "plain": 1},
        "panicking": frozenset(),
        "workers": (FakeWorker(0, 43, "serving", 0), FakeWorker(1, None, "dead", 2)),
        "deaf": frozenset(),
        "board": FakeBoard(),
        "loop_lag": SOME,
        "check_duration": lambda key: SOME if key.endpoint == "a" else EMPTY,
        "access_dropped_total": 1,
        "log_dropped_total": 6,
    }
    return Observed(**(facts | changed))
