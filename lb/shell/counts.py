"""What has been counted, as plain values: read from the scoreboard, or collected here by the supervisor.

A histogram's counts are per bucket, not cumulative; the last one is for what lies above every bound.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Histogram:
    """`len(counts) == len(bounds) + 1`. `counts[i]` holds the values in (bounds[i - 1], bounds[i]]."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    sum: float


@dataclass(frozen=True, slots=True)
class EndpointCounts:
    """Over all workers. `connect_failures` has every reason, also those that never happened."""

    sessions_open: int
    sessions_total: int
    bytes_in: int
    bytes_out: int
    connect_failures: Mapping[str, int]
    connect_seconds: Histogram
    first_byte_seconds: Histogram


@dataclass(frozen=True, slots=True)
class ListenerCounts:
    """Over all workers. `refused`, `would_refuse` (dry runs) and `closed` have every reason, also those that
    never happened. `sources_untracked`: sessions whose source was one too many to be counted.
    `paced_total`: how often accepting waited for rate_max."""

    sessions_open: int
    sessions_total: int
    refused: Mapping[str, int]
    would_refuse: Mapping[str, int]
    closed: Mapping[str, int]
    sources_untracked: int
    paced_total: int
    session_seconds: Histogram


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """Over all workers. `queued`: sessions that wait for room now."""

    sessions_open: int
    queued: int
    queued_total: int
    retries_total: int
    retries_refused_total: int


@dataclass(frozen=True, slots=True)
class WorkerCounts:
    """`heartbeat_ns` is the CLOCK_MONOTONIC of the worker's last sign of life. `starved_total`: sessions that
    had to wait for a descriptor, a port or memory of ours."""

    sessions_open: int
    accept_paused_total: int
    access_dropped_total: int
    access_sampled_out_total: int
    starved_total: int
    heartbeat_ns: int
    loop_lag_seconds: Histogram
    steps_total: int


class Tally:
    """A histogram that grows."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def add(self, value: float) -> None:
        self._counts[bisect_left(self._bounds, value)] += 1
        self._sum += value

    def histogram(self) -> Histogram:
        return Histogram(self._bounds, tuple(self._counts), self._sum)
