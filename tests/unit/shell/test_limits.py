"""What the machine lets lb use, read from a made-up /proc and /sys."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from lb.model.address import Address, UnixAddress
from lb.model.config import Config, Workers
from lb.model.listener import Listener, TcpOptions
from lb.shell.limits import (
    NOFILE_MAX,
    backlog_warning,
    cpu_quota,
    fast_open_warning,
    pipes_max,
    raise_nofile,
    sessions_max,
    worker_count,
)

AUTO = Workers()


def config(wished: int | None = None, workers: Workers = AUTO, binds: int = 1, backlog: int = 4096) -> Config:
    addresses = tuple(Address("127.0.0.1", 8000 + number) for number in range(binds))
    listener = Listener("web", addresses, "web", tcp=TcpOptions(backlog=backlog))
    return Config(listeners=(listener,), pools=(), workers=workers, sessions_max=wished)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# ---- Descriptors and sessions ----


def test_raise_nofile_soft_limit_becomes_what_it_says() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        nofile = raise_nofile()
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        assert soft == nofile
        assert 256 < nofile <= NOFILE_MAX
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("hard", [resource.RLIM_INFINITY, 1073741816])
def test_raise_nofile_endless_limit_is_capped(monkeypatch: pytest.MonkeyPatch, hard: int) -> None:
    """Docker's limit of 2^30 made others allocate tables for it."""
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (hard, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: asked.append(limits))
    assert raise_nofile() == NOFILE_MAX
    assert asked == [(NOFILE_MAX, hard)]


def test_raise_nofile_not_root_takes_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def setrlimit(_: int, limits: tuple[int, int]) -> None:
        if limits[1] > 4096:
            raise ValueError("not allowed to raise maximum limit")
        asked.append(limits)

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 4096))
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert raise_nofile() == 4096
    assert asked == [(4096, 4096)]


def test_sessions_max_counts_a_path_once_however_many_workers() -> None:
    """A worker that stands in for all others holds each of their sockets, but of a path there is only one."""
    none, _ = sessions_max(config(binds=0), 20000, 4)
    listener = Listener("web", tuple(UnixAddress(f"/run/{number}") for number in range(100)), "web")
    at_paths, _ = sessions_max(Config(listeners=(listener,), pools=()), 20000, 4)
    at_ports, _ = sessions_max(config(binds=100), 20000, 4)
    assert (none - at_paths, none - at_ports) == (50, 200)


def test_sessions_max_auto_leaves_room_for_listeners_and_pipes() -> None:
    few, warning = sessions_max(config(binds=1), 20000, 2)
    fewer, _ = sessions_max(config(binds=100), 20000, 2)
    assert warning is None
    assert 8000 < few < 10000
    assert few - fewer == 99  # two workers' sockets of 99 more addresses, at two descriptors a session


def test_sessions_max_wish_below_is_granted_to_each_worker() -> None:
    assert sessions_max(config(1000), 20000, 2) == (1000, None)


def test_sessions_max_wish_above_is_lowered_with_a_warning() -> None:
    carried, _ = sessions_max(config(), 20000, 2)
    lowered, warning = sessions_max(config(10**6), 20000, 2)
    assert lowered == carried
    assert warning is not None
    assert warning.startswith("sessions_max: 1000000 is more than")
    assert str(carried * 2) in warning


def test_sessions_max_of_a_great_many_ports_warns_that_they_take_the_descriptors() -> None:
    carried, warning = sessions_max(config(binds=1000), 4096, 3)
    assert carried < 500
    assert warning is not None
    assert warning.startswith(f"sessions_max: 3000 listening sockets leave a worker room for {carried} sess")
    assert sessions_max(config(binds=1000), 20000, 3)[1] is None


def test_sessions_max_few_descriptors_are_not_all_kept_for_pipes() -> None:
    """256 descriptors: the pipes that the allowance permits would have left room for one session."""
    assert sessions_max(config(), 256, 1)[0] > 50


def test_sessions_max_hardly_any_descriptors_is_still_one() -> None:
    assert sessions_max(config(), 64, 2)[0] == 1


def test_backlog_warning_above_somaxconn_names_both(tmp_path: Path) -> None:
    write(tmp_path / "proc/sys/net/core/somaxconn", "128\n")
    assert backlog_warning(config(backlog=128), tmp_path) is None
    warning = backlog_warning(config(backlog=4096), tmp_path)
    assert warning == "tcp.backlog: 4096 is more than net.core.somaxconn allows, which is 128"


def test_fast_open_warning_when_the_kernel_lets_only_clients_do_it(tmp_path: Path) -> None:
    listener = Listener("web", (), "web", tcp=TcpOptions(fast_open=True))
    wanted = Config(listeners=(listener,), pools=())
    write(tmp_path / "proc/sys/net/ipv4/tcp_fastopen", "1\n")
    assert fast_open_warning(config(), tmp_path) is None
    assert fast_open_warning(wanted, tmp_path) == (
        "tcp.fast_open: net.ipv4.tcp_fastopen is 1, and does not let servers do it; set it to 3"
    )
    write(tmp_path / "proc/sys/net/ipv4/tcp_fastopen", "3\n")
    assert fast_open_warning(wanted, tmp_path) is None


# ---- Pipes ----


@pytest.mark.parametrize(
    ("soft", "workers", "expected"), [("16384", 1, 192), ("16384", 2, 96), ("16384", 64, 3), ("0", 2, 256)]
)
def test_pipes_max_allowance_is_shared_by_the_workers(
    tmp_path: Path, soft: str, workers: int, expected: int
) -> None:
    write(tmp_path / "proc/sys/fs/pipe-user-pages-soft", soft)
    assert pipes_max(workers, 20000, tmp_path) == expected
    if soft != "0":
        assert workers * pipes_max(workers, 20000, tmp_path) * 64 < int(soft)


# ---- CPUs ----


def test_worker_count_configured_is_taken() -> None:
    assert worker_count(config(workers=Workers(count=7))) == 7


def test_worker_count_auto_is_the_affinity_without_a_quota(tmp_path: Path) -> None:
    assert worker_count(config(), tmp_path) == min(len(os.sched_getaffinity(0)), 64)


def test_worker_count_pinned_is_one_per_named_cpu(tmp_path: Path) -> None:
    assert worker_count(config(workers=Workers(cpus=(0, 0))), tmp_path) == 1


def test_worker_count_quota_rounds_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    write(tmp_path / "proc/self/cgroup", "0::/lb\n")
    write(tmp_path / "sys/fs/cgroup/lb/cpu.max", "250000 100000\n")
    assert worker_count(config(), tmp_path) == 3


def test_cpu_quota_of_a_group_above_ours_counts(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "0::/a/b/c\n")
    write(tmp_path / "sys/fs/cgroup/a/b/c/cpu.max", "max 100000\n")
    write(tmp_path / "sys/fs/cgroup/a/cpu.max", "150000 100000\n")
    assert cpu_quota(tmp_path) == 1.5


def test_cpu_quota_in_a_container_is_found_at_the_top(tmp_path: Path) -> None:
    """The path is the host's; only the container's own group is mounted."""
    write(tmp_path / "proc/self/cgroup", "0::/docker/0123abcd\n")
    write(tmp_path / "sys/fs/cgroup/cpu.max", "50000 100000\n")
    assert cpu_quota(tmp_path) == 0.5


def test_cpu_quota_of_version_1_is_read_too(tmp_path: Path) -> None:
    write(tmp_path / "proc/self/cgroup", "5:memory:/x\n4:cpu,cpuacct:/lb\n0::/\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/lb/cpu.cfs_quota_us", "200000\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/lb/cpu.cfs_period_us", "100000\n")
    write(tmp_path / "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n")
    assert cpu_quota(tmp_path) == 2.0


def test_cpu_quota_none_set_is_no_bound(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == 64.0
