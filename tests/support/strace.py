"""The system calls that a running process makes while something happens, counted by strace."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

from tests.support.process import Process, find
from tests.support.waiting import eventually

WITHIN_S = 10.0


def calls_during(folder: Path, pid: int, happens: Callable[[], object]) -> dict[str, int]:
    """By name. The process is slower meanwhile, so its figures of time mean nothing."""
    name = f"strace-{len(list(folder.glob('strace-*.err')))}"
    summary = folder / f"{name}.txt"
    words = [find("strace") or "strace", "-f", "-c", "-o", str(summary), "-p", str(pid)]
    strace = Process(name, words, folder)
    try:
        eventually(lambda: "attached" in strace.err(), within_s=WITHIN_S, reason="strace is attached")
        happens()
        strace.signal(signal.SIGINT)
        strace.wait(WITHIN_S, "it was interrupted")
    finally:
        strace.end()
    rows = [line.split() for line in summary.read_text().splitlines()]
    return {row[-1]: int(row[3]) for row in rows if is_count(row)}


def is_count(row: list[str]) -> bool:
    """`% time, seconds, usecs/call, calls, errors (or nothing), name`; neither head, rule nor total."""
    return len(row) in (5, 6) and row[3].isdigit() and row[-1] != "total"
