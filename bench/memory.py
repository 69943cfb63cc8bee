"""User memory of a process tree, from /proc/PID/smaps_rollup.

`user_bytes` is Pss_Anon + Pss_Shmem over the tree: heap, stacks and private mappings, and shared memory
(memfds, scoreboards) counted once however many map it. Pages of program files are left out: they are the page
cache's, and which of them were touched says nothing about sessions. Kernel memory of sockets is not in it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

SETTLE_S_MAX = 5.0
SETTLE_STEP_S = 0.25
FIELDS = ("Rss", "Pss", "Pss_Anon", "Pss_File", "Pss_Shmem", "Private_Dirty", "AnonHugePages")


def of_processes(pids: list[int]) -> dict[str, int]:
    """Bytes by field, summed; `user_bytes` beside them."""
    total = dict.fromkeys(FIELDS, 0)
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
                name, _, rest = line.partition(":")
                if name in total:
                    total[name] += int(rest.split()[0]) * 1024
    return total | {"user_bytes": total["Pss_Anon"] + total["Pss_Shmem"]}


def settled(pids: Callable[[], list[int]]) -> dict[str, int]:
    """The reading once two in a row agree: start-up is over, what is freed was given back. Else the last."""
    deadline_s = time.monotonic() + SETTLE_S_MAX
    last = of_processes(pids())
    while time.monotonic() < deadline_s:
        time.sleep(SETTLE_STEP_S)
        now = of_processes(pids())
        if now["user_bytes"] == last["user_bytes"]:
            return now
        last = now
    return last
