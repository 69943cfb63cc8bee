"""From what a measurement saw to the figures that are compared."""

import pytest

from bench.compare import figures
from bench.compare.workload import WORKLOADS


def seen(**more: object) -> dict:
    """Two seconds: the proxy (pids 10, 11) used 1.5 s, the load 1.8 s; CPU 0 was busy 1.6 s, CPU 1 always."""
    return {
        "errors": {"reset": 0, "stalled": 2},
        "seconds": 2.0,
        "operations": 50_000,
        "bytes": 3_000_000_000,
        "proxy_pids": [10, 11],
        "cpu_ns": {"10": 100_000_000, "11": 1_400_000_000, "20": 800_000_000},
        "client_cpu_ns": 1_000_000_000,
        "machine_percent": {"cpu0": {"busy": 80.0, "steal": 0.0}, "cpu1": {"busy": 100.0, "steal": 1.0}},
    } | more


def test_figures_of_operations_are_microseconds_of_all_processes_of_the_proxy() -> None:
    found = figures.of(WORKLOADS["connect"], seen(), proxied=True)
    assert found["cpu"] == pytest.approx(30.0)
    assert found["busy_cpu"] == pytest.approx(32.0)
    assert found["rate"] == pytest.approx(25_000)
    assert found["errors_total"] == 2


def test_figures_of_bulk_are_seconds_per_gigabyte() -> None:
    found = figures.of(WORKLOADS["bulk-1"], seen(), proxied=True)
    assert found["cpu"] == pytest.approx(0.5)
    assert found["rate"] == pytest.approx(12.0)


def test_foreign_is_what_neither_proxy_nor_load_used() -> None:
    found = figures.of(WORKLOADS["connect"], seen(), proxied=True)
    assert found["foreign_percent"] == pytest.approx(100 * (3.6 - 3.3) / 2)
    assert found["steal_percent"] == 1.0


def test_figures_without_a_proxy_have_no_cpu() -> None:
    quantiles = {"p50": 5.0, "p90": 6.0, "p99": 7.0, "p999": 8.0}
    direct = seen(proxy_pids=[], latency_us=quantiles, late_us=quantiles)
    found = figures.of(WORKLOADS["latency-connect"], direct, proxied=False)
    assert "cpu" not in found
    assert (found["p50"], found["p999"], found["late_p99"]) == (5.0, 8.0, 7.0)


def test_figures_of_nothing_done_have_no_rate() -> None:
    found = figures.of(WORKLOADS["connect"], seen(operations=0), proxied=True)
    assert "rate" not in found and "cpu" not in found


def test_memory_is_what_the_sessions_added() -> None:
    held = {"errors": {}, "rest": {"user_bytes": 1_000_000}, "held": {"user_bytes": 4_600_000}}
    found = figures.of(WORKLOADS["idle"], held, proxied=True)
    assert found["session_bytes"] == pytest.approx(400)
    assert found["rest_mb"] == 1.0
