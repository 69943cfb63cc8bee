"""What the figures depend on beside the programs: machine, kernel, settings, versions, commit."""

from __future__ import annotations

import contextlib
import gzip
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from bench import cpu
from bench.peers import PEERS, Peer
from bench.process import ROOT

SYSCTLS = (
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_max_tw_buckets",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "fs.pipe-max-size",
    "fs.pipe-user-pages-soft",
)
KERNEL_OPTIONS = (
    "HZ",
    "IRQ_TIME_ACCOUNTING",
    "PREEMPT_DYNAMIC",
    "TICK_CPU_ACCOUNTING",
    "VIRT_CPU_ACCOUNTING_GEN",
)


def gather(peers: Sequence[Peer]) -> dict[str, Any]:
    return {
        "date": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "kernel": platform.release(),
        "kernel_options": kernel_options(),
        "mitigations": mitigations(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "transparent_hugepage": read("/sys/kernel/mm/transparent_hugepage/enabled"),
        "system": read_os_name(),
        "load_average_at_start": os.getloadavg(),
        "sysctls": {name: read("/proc/sys/" + name.replace(".", "/")) for name in SYSCTLS},
        "python": platform.python_version(),
        "cython": version_of("Cython"),
        "versions": {peer.name: peer.version() for peer in peers},
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(git("status", "--porcelain", "--", ":!bench/results")),
        "cpu_clock_check": check_clock(),
    }


def check_clock(burn_s: float = 0.2) -> dict[str, float]:
    """The same burn of CPU by three clocks, in seconds: the one used, schedstat, and ticks."""
    pid, tick_s = os.getpid(), 1 / os.sysconf("SC_CLK_TCK")

    def ticks_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * tick_s

    def schedstat_s() -> float:
        found = read(f"/proc/{pid}/schedstat")
        return int(found.split()[0]) / 1e9 if found else 0.0

    before = (cpu.process_ns(pid) / 1e9, schedstat_s(), ticks_s())
    end_s = time.process_time() + burn_s
    while time.process_time() < end_s:
        pass
    after = (cpu.process_ns(pid) / 1e9, schedstat_s(), ticks_s())
    names = ("process_clock", "schedstat", "stat_ticks")
    return {name: round(b - a, 4) for name, a, b in zip(names, before, after, strict=True)}


def cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def kernel_options() -> dict[str, str]:
    """Those that decide what CPU time is charged to whom; empty when the kernel does not tell."""
    found = {}
    with contextlib.suppress(OSError):
        for line in gzip.decompress(Path("/proc/config.gz").read_bytes()).decode().splitlines():
            name, _, value = line.partition("=")
            if name.removeprefix("CONFIG_") in KERNEL_OPTIONS and value:
                found[name] = value
    return found


def mitigations() -> dict[str, str]:
    folder = Path("/sys/devices/system/cpu/vulnerabilities")
    return {path.name: read(str(path)) or "" for path in sorted(folder.glob("*"))}


def read_os_name() -> str | None:
    for line in (read("/etc/os-release") or "").splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return None


def read(path: str) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def version_of(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def git(*arguments: str) -> str | None:
    """What git prints; None outside a repository or before the first commit."""
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


if __name__ == "__main__":
    import json

    json.dump(gather(list(PEERS.values())), sys.stdout, indent=2)
