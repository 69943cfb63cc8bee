"""What an observer looks at: the whole of lb at one moment, gathered in one turn of the loop.

Status and metrics are functions of this value, and of nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from lb.model.address import SocketAddress
from lb.model.check import Certificate, Check, ProbeResult
from lb.model.config import Config
from lb.model.endpoint import Admin, Agent, EndpointKey, Health
from lb.shell.counts import EndpointCounts, Histogram, ListenerCounts, PoolCounts, WorkerCounts


class CheckView(Protocol):
    """One check of an endpoint as the brain sees it."""

    @property
    def check(self) -> Check: ...
    @property
    def health(self) -> Health: ...
    @property
    def streak(self) -> int: ...
    @property
    def last_result(self) -> ProbeResult | None: ...
    @property
    def last_run_s(self) -> float | None: ...
    @property
    def next_run_s(self) -> float | None: ...
    @property
    def certificate(self) -> Certificate | None: ...
    @property
    def held_until_s(self) -> float: ...


class EndpointView(Protocol):
    """An endpoint as the brain sees it; `*_s` are in the seconds of `Observed.now_s`."""

    @property
    def id(self) -> int: ...
    @property
    def key(self) -> EndpointKey: ...
    @property
    def address(self) -> SocketAddress: ...
    @property
    def health(self) -> Health: ...
    @property
    def admin(self) -> Admin: ...
    @property
    def agent(self) -> Agent: ...
    @property
    def ejected(self) -> bool: ...
    @property
    def returns_s(self) -> float | None: ...
    @property
    def ejections_total(self) -> int: ...
    @property
    def eligible(self) -> bool: ...
    @property
    def weight(self) -> int: ...
    @property
    def weight_effective(self) -> int: ...
    @property
    def priority(self) -> int: ...
    @property
    def zone(self) -> str | None: ...
    @property
    def ramp_percent(self) -> int: ...
    @property
    def since_s(self) -> float: ...
    @property
    def removed(self) -> bool: ...
    @property
    def drained(self) -> bool: ...
    @property
    def transitions(self) -> Mapping[tuple[str, str], int]: ...
    @property
    def checks(self) -> Sequence[CheckView]: ...
    @property
    def any_suffices(self) -> bool: ...


class WorkerView(Protocol):
    """A worker's place as the crew sees it."""

    @property
    def index(self) -> int: ...
    @property
    def pid(self) -> int | None: ...
    @property
    def state(self) -> str: ...
    @property
    def restarts_total(self) -> int: ...


class BoardView(Protocol):
    """The scoreboard, to read."""

    def endpoint(self, id: int, /) -> EndpointCounts: ...
    def listener(self, id: int, /) -> ListenerCounts: ...
    def pool(self, id: int, /) -> PoolCounts: ...
    def worker(self, index: int, /) -> WorkerCounts: ...


@dataclass(frozen=True, slots=True)
class LastReload:
    """`at` is wall-clock time; `errors` are what the operator is to read. The first load counts as one."""

    success: bool
    at: float
    errors: tuple[str, ...] = ()


class FileView(Protocol):
    """Of the configuration file: what runs of it, and how the last attempt to load it went."""

    @property
    def path(self) -> Path: ...
    @property
    def hash(self) -> str: ...
    @property
    def loaded_at(self) -> float: ...
    @property
    def last(self) -> LastReload: ...
    @property
    def warnings(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Observed:
    """`state`: starting, running or draining. `started_at` is wall-clock time; `now_s` and `wall_s` are one
    moment on both clocks. `warnings` come on top of the file's. `deaf`: listeners that nobody accepts from.
    `panicking`: pools in which health is ignored. `access_dropped_total`: lines that the access log's writer
    lost, on top of the workers'."""

    state: str
    pid: int
    started_at: float
    now_s: float
    wall_s: float

    file: FileView
    config: Config
    generation: int
    warnings: Sequence[str]

    endpoints: Sequence[EndpointView]
    listener_ids: Mapping[str, int]
    pool_ids: Mapping[str, int]
    panicking: Set[str]
    workers: Sequence[WorkerView]
    deaf: Set[str]
    board: BoardView

    loop_lag: Histogram
    check_duration: Callable[[EndpointKey], Histogram]
    access_dropped_total: int = 0
    log_dropped_total: int = 0


Json = dict[str, Any]
