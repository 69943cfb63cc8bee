"""What processes and CPUs have used, read from outside.

The CPU time of a process is its own clock (clock_getcpuclockid(3): user plus system of all its threads, ended
ones included, in nanoseconds, running ones up to now). It was preferred to /proc/PID/stat, which counts in
ticks of 10 ms, and to the sum of task/*/schedstat, which lags by up to a tick and forgets ended threads.
On a kernel without IRQ_TIME_ACCOUNTING the softirq work that runs inside a process's calls is part of it: on
loopback, the whole TCP receive path of what it sends.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

CPUCLOCK_SCHED = 2  # include/linux/posix-timers.h: all threads of the group, scheduler time
Ticks = dict[str, dict[str, int]]

STAT_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")


def process_ns(pid: int) -> int:
    """CPU nanoseconds of one process. Raises OSError when it is gone."""
    return time.clock_gettime_ns(((~pid) << 3) | CPUCLOCK_SCHED)


def processes_ns(pids: Iterable[int]) -> dict[int, int]:
    """CPU nanoseconds per process; a process that is gone is left out (and is seen by its absence)."""
    found = {}
    for pid in pids:
        try:
            found[pid] = process_ns(pid)
        except OSError:
            continue
    return found


def machine_ticks() -> Ticks:
    """Ticks (10 ms) of each CPU by kind, as /proc/stat counts them."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *numbers = line.split()
        if name.startswith("cpu") and name != "cpu":
            found[name] = dict(zip(STAT_FIELDS, map(int, numbers), strict=False))
    return found


def machine_percent(before: Ticks, after: Ticks) -> dict[str, dict[str, float]]:
    """Busy and steal percent of each CPU between two readings."""
    found = {}
    for name, last in after.items():
        spent = {kind: last[kind] - before[name][kind] for kind in last}
        total = max(sum(spent.values()), 1)
        idle = spent["idle"] + spent["iowait"]
        found[name] = {
            "busy": round(100 * (total - idle - spent["steal"]) / total, 1),
            "steal": round(100 * spent["steal"] / total, 2),
        }
    return found
