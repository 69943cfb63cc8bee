"""From what a measurement saw to the figures that are compared (pure).

cpu              of the proxy, all its processes: µs per operation, s per GB
busy_cpu         of everything on CPU 0, where nothing but the proxy's traffic should run: with what the
                 kernel did for it outside its processes (timers that pace a stream), and with strangers
rate             operations per second, or Gb/s
p50 .. p999      µs, from the time an operation was due
session_bytes    user memory per idle session; rest_mb: before the first
foreign_percent  of one CPU: what both CPUs did that was neither the proxy nor the load
"""

from __future__ import annotations

from typing import Any

from bench.compare.workload import Workload
from bench.process import PROXY_CPU

Sample = dict[str, Any]
QUANTILES = ("p50", "p90", "p99", "p999")


def of(workload: Workload, seen: Sample, *, proxied: bool) -> Sample:
    found: Sample = {"errors_total": sum(seen["errors"].values())}
    if workload.loop == "held":
        added = seen["held"]["user_bytes"] - seen["rest"]["user_bytes"]
        return found | {
            "session_bytes": added / workload.sessions,
            "rest_mb": seen["rest"]["user_bytes"] / 1e6,
        }
    if workload.loop == "open":
        found |= {name: seen["latency_us"][name] for name in QUANTILES}
        found["late_p99"] = seen["late_us"]["p99"]
    return found | processor(workload, seen, proxied)


def processor(workload: Workload, seen: Sample, proxied: bool) -> Sample:
    """CPU time and rate."""
    bulk = workload.unit == "GB"
    units = seen["bytes"] / 1e9 if bulk else seen["operations"]
    proxy_s = sum(seen["cpu_ns"].get(str(pid), 0) for pid in seen["proxy_pids"]) / 1e9
    known_s = (sum(seen["cpu_ns"].values()) + seen["client_cpu_ns"]) / 1e9
    busy_s = {cpu: seen["seconds"] * load["busy"] / 100 for cpu, load in seen["machine_percent"].items()}
    found: Sample = {
        "proxy_busy_percent": 100 * proxy_s / seen["seconds"],
        "foreign_percent": 100 * max(sum(busy_s.values()) - known_s, 0.0) / seen["seconds"],
        "steal_percent": max(load["steal"] for load in seen["machine_percent"].values()),
    }
    if units:
        found["rate"] = units / seen["seconds"] * (8 if bulk else 1)
        if proxied:
            scale = 1 if bulk else 1e6
            found["cpu"] = proxy_s / units * scale
            found["busy_cpu"] = busy_s[f"cpu{PROXY_CPU}"] / units * scale
    return found
