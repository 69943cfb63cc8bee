"""The door to the compiled extension: the only module that imports it.

What comes out are the frozen values of lb.shell.counts; what goes in are snapshots and descriptors. The
numbers that the extension gives to reasons are compared with the model's here, once, at import.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from lb._ext.board import (
    BOUNDS_MAX,
    FAILURE_NAMES,
    FAST_BOUNDS_S,
    REASON_NAMES,
    SLOW_BOUNDS_S,
    WOULD_REFUSE_NAMES,
    BoardMap,
)
from lb._ext.engine import FAILURES_SEEN, MORE, Engine
from lb._ext.ring import RingMap, RingWriter
from lb._ext.table import LAYOUT_VERSION, TABLE_ATTEMPTS_MAX, compile_table
from lb.model.cause import Reason
from lb.model.snapshot import Snapshot
from lb.shell.counts import EndpointCounts, Histogram, ListenerCounts, PoolCounts, WorkerCounts

LAYOUT: int = LAYOUT_VERSION
ENDPOINTS_MAX: int = BOUNDS_MAX["endpoints"]
LISTENERS_MAX: int = BOUNDS_MAX["listeners"]
POOLS_MAX: int = BOUNDS_MAX["pools"]
WORKERS_MAX: int = BOUNDS_MAX["workers"]
ATTEMPTS_MAX: int = TABLE_ATTEMPTS_MAX
CONNECT_FAILURES: tuple[str, ...] = FAILURE_NAMES
REFUSALS: tuple[str, ...] = (
    Reason.NO_ENDPOINT.value,
    Reason.REFUSED_ACL.value,
    Reason.REFUSED_RATE.value,
    Reason.REFUSED_LIMIT.value,
    Reason.QUEUE_TIMEOUT.value,
    Reason.BAD_PROXY_HEADER.value,
)

ACCESS_MODE = 0o640

__all__ = [
    "FAILURES_SEEN",
    "LAYOUT",
    "MORE",
    "AccessWriter",
    "Board",
    "Engine",
    "Ring",
    "compile_snapshot",
]

if tuple(reason.value for reason in Reason) != REASON_NAMES:
    raise ImportError("the compiled extension is another version's: its reasons differ; install lb again")


def compile_snapshot(snapshot: Snapshot) -> int:
    """A sealed memfd with the snapshot, owned by the caller. Raises ValueError when it is not sound."""
    return int(compile_table(snapshot))


class Board:
    """The supervisor's side of the scoreboard. Counts are sums over the workers."""

    def __init__(self, workers: int) -> None:
        self._map = BoardMap(workers)
        self.fd: int = self._map.fd

    @classmethod
    def create(cls, workers: int) -> Board:
        """`workers` is 1 to WORKERS_MAX, and stays."""
        return cls(workers)

    def sessions_open_by_endpoint(self) -> dict[int, int]:
        """By endpoint id; those with none are left out."""
        return dict(self._map.open_by_endpoint())

    def sessions_open_by_listener(self) -> dict[int, int]:
        return dict(self._map.open_by_listener())

    def endpoint(self, number: int) -> EndpointCounts:
        is_open, total, bytes_in, bytes_out, failures, connect, first_byte = self._map.endpoint(number)
        return EndpointCounts(
            sessions_open=is_open,
            sessions_total=total,
            bytes_in=bytes_in,
            bytes_out=bytes_out,
            connect_failures=dict(zip(CONNECT_FAILURES, failures, strict=True)),
            connect_seconds=histogram(FAST_BOUNDS_S, connect),
            first_byte_seconds=histogram(FAST_BOUNDS_S, first_byte),
        )

    def listener(self, number: int) -> ListenerCounts:
        is_open, total, closed, would_refuse, untracked, paced, session = self._map.listener(number)
        by_reason: Mapping[str, int] = dict(zip(REASON_NAMES, closed, strict=True))
        return ListenerCounts(
            sessions_open=is_open,
            sessions_total=total,
            refused={reason: by_reason[reason] for reason in REFUSALS},
            would_refuse=dict(zip(WOULD_REFUSE_NAMES, would_refuse, strict=True)),
            closed=by_reason,
            sources_untracked=untracked,
            paced_total=paced,
            session_seconds=histogram(SLOW_BOUNDS_S, session),
        )

    def pool(self, number: int) -> PoolCounts:
        return PoolCounts(*self._map.pool(number))

    def worker(self, index: int) -> WorkerCounts:
        is_open, paused, dropped, sampled_out, starved, heartbeat_ns, steps, lag = self._map.worker(index)
        return WorkerCounts(
            sessions_open=is_open,
            accept_paused_total=paused,
            access_dropped_total=dropped,
            access_sampled_out_total=sampled_out,
            starved_total=starved,
            heartbeat_ns=heartbeat_ns,
            loop_lag_seconds=histogram(FAST_BOUNDS_S, lag),
            steps_total=steps,
        )

    def forget_worker(self, index: int) -> None:
        """A dead worker's gauges go to 0; its counters stay, and its successor counts on."""
        self._map.forget_worker(index)

    def forget_endpoint(self, number: int) -> None:
        """All counts of a freed id to 0."""
        self._map.forget_endpoint(number)

    def forget_listener(self, number: int) -> None:
        self._map.forget_listener(number)

    def forget_pool(self, number: int) -> None:
        self._map.forget_pool(number)

    def close(self) -> None:
        """Closes the descriptor; counts can still be read."""
        if self.fd != -1:
            os.close(self.fd)
            self.fd = -1


def histogram(bounds_s: tuple[float, ...], counted: tuple[tuple[int, ...], int]) -> Histogram:
    counts, sum_us = counted
    return Histogram(bounds_s, counts, sum_us / 1e6)


class Ring:
    """Access-log lines of one worker slot, in shared memory: they outlive the worker that put them there."""

    def __init__(self) -> None:
        self.map = RingMap()
        self.fd: int = self.map.fd

    @classmethod
    def create(cls) -> Ring:
        return cls()

    def close(self) -> None:
        if self.fd != -1:
            os.close(self.fd)
            self.fd = -1


class AccessWriter:
    """Writes the rings' lines to a descriptor or a file, in a thread of its own that needs no GIL.

    It may be held up for ever by a stuck reader or a full disk; nobody waits for it. The rings fill
    meanwhile, and workers drop and count. `out_fd` stays the caller's; a file at `path` is appended to.
    """

    def __init__(self, rings: list[Ring], out_fd: int | None = None, path: str | None = None) -> None:
        """Raises OSError when the file cannot be opened."""
        if (out_fd is None) == (path is None):
            raise ValueError("either a descriptor or a path")
        self._rings = rings
        self._path = path
        self._fd = out_fd if out_fd is not None else open_log(str(path))
        self._writer = RingWriter([ring.map for ring in rings], self._fd)
        self._thread = threading.Thread(target=self._writer.run, name="lb-access", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def reopen(self) -> None:
        """After the file was moved away (USR1): from the next line on. Raises OSError; then the former file
        goes on."""
        if self._path is None or self._fd == -1:
            return
        self._writer.change(open_log(self._path))

    def stop(self, timeout_s: float) -> bool:
        """Writes what the rings hold and ends. False: the reader or the disk did not take it in time."""
        self._writer.stop()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            return False
        if self._path is not None and self._fd != -1:
            os.close(self._fd)
            self._fd = -1
        return True

    @property
    def written_bytes(self) -> int:
        return int(self._writer.written_bytes)

    @property
    def waiting_bytes(self) -> int:
        """What the rings hold and nobody took yet."""
        return sum(int(ring.map.waiting_bytes) for ring in self._rings)


def open_log(path: str) -> int:
    return os.open(Path(path), os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, ACCESS_MODE)
