"""The whole configuration, checked and complete: every default is filled in."""

from __future__ import annotations

from dataclasses import dataclass

from lb.model.address import Address
from lb.model.listener import Listener
from lb.model.pool import Pool

ADMIN_BIND = Address("127.0.0.1", 9900)


@dataclass(frozen=True, slots=True)
class Workers:
    """`count` None: as many as the CPUs that lb may use (affinity and cgroup quota). `cpus` pins worker i to
    cpus[i % len(cpus)]."""

    count: int | None = None
    cpus: tuple[int, ...] | None = None


@dataclass(frozen=True, slots=True)
class Shutdown:
    """`pre_drain_s`: how long lb goes on accepting after /ready says 503. `orphan_s`: how long workers serve
    on without their supervisor."""

    pre_drain_s: float = 0.0
    drain_s: float = 30.0
    orphan_s: float = 300.0


@dataclass(frozen=True, slots=True)
class AdminPlane:
    """`bind` None: no HTTP over TCP. `socket` None: `admin.sock` in the runtime folder."""

    bind: Address | None = ADMIN_BIND
    socket: str | None = None


@dataclass(frozen=True, slots=True)
class Log:
    """`access`: "stdout", "off", or a path. `access_rate_max`: lines per second, over all workers, past
    which a sample is written and the rest is counted; 0: every session has its line."""

    level: str = "info"
    format: str = "text"
    access: str = "stdout"
    access_rate_max: int = 0


@dataclass(frozen=True, slots=True)
class Config:
    """`sessions_max` None: what the descriptors carry."""

    listeners: tuple[Listener, ...]
    pools: tuple[Pool, ...]
    workers: Workers = Workers()
    sessions_max: int | None = None
    user: str | None = None
    runtime_dir: str = "/run/lb"
    shutdown: Shutdown = Shutdown()
    admin: AdminPlane = AdminPlane()
    log: Log = Log()

    @property
    def admin_socket(self) -> str:
        return self.admin.socket or f"{self.runtime_dir}/admin.sock"
