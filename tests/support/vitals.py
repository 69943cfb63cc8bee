"""What the kernel knows of a process: descriptors, memory, CPU. The process itself need not help."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h: all threads of the group, user and system


class Vitals(NamedTuple):
    """Of one process, or summed over several. Memory is what it holds alone: Pss_Anon + Pss_Shmem."""

    processes: int
    descriptors: int
    memory_bytes: int

    def __str__(self) -> str:
        return (
            f"{self.processes} processes, {self.descriptors} descriptors, {self.memory_bytes / 2**20:.1f} MiB"
        )


def vitals(pids: Iterable[int]) -> Vitals:
    each = [(descriptors(pid), memory_bytes(pid)) for pid in pids]
    return Vitals(len(each), sum(count for count, _ in each), sum(size for _, size in each))


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 (a Path per descriptor is not needed)


def memory_bytes(pid: int) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    rows = dict(line.split(":", 1) for line in text.splitlines()[1:])
    return sum(int(rows[key].split()[0]) for key in ("Pss_Anon", "Pss_Shmem")) * 1024


def cpu_s(pid: int) -> float:
    """CPU seconds used so far."""
    return time.clock_gettime(((~pid) << 3) | CPUCLOCK_SCHED)


def cpu_percent(pid: int, meanwhile: Callable[[], object]) -> float:
    """The share of one CPU that a process uses while `meanwhile` runs."""
    cpu_before, start_s = cpu_s(pid), time.monotonic()
    meanwhile()
    return 100 * (cpu_s(pid) - cpu_before) / (time.monotonic() - start_s)
