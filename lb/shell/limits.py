"""How much this machine lets lb use: descriptors, CPUs, pipe memory; and what follows for each worker.

Nothing is sized by a limit that somebody set to "infinite": descriptors are capped at a million.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

from lb.model.address import UnixAddress
from lb.model.config import Config

NOFILE_MAX = 1048576  # the kernel's default bound (fs.nr_open); Docker's 2^30 has made others allocate for it
WORKERS_MAX = 64

FDS_PER_SESSION = 2
FDS_PER_PIPE = 2
FDS_RESERVED = 64  # standard streams, channel, epolls, timers, snapshots that cross, the interpreter's files

PIPE_PAGES = 64  # 256 KiB
PIPES_MAX = 256  # per worker: as many streams at once fill any link
PIPE_SHARE = 0.75  # of the user's allowance; probes, log readers and other programs have pipes too
PIPE_FDS_SHARE = 0.25  # of the descriptors

FAST_OPEN_SERVERS = 2  # a bit of net.ipv4.tcp_fastopen

ROOT = Path("/")


def raise_nofile() -> int:
    """Raise the soft limit to the hard one, and that one too if we may. Returns the descriptors there are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY or hard >= NOFILE_MAX:
        resource.setrlimit(resource.RLIMIT_NOFILE, (NOFILE_MAX, hard))
        return NOFILE_MAX
    with suppress(ValueError, OSError):  # only root may
        resource.setrlimit(resource.RLIMIT_NOFILE, (NOFILE_MAX, NOFILE_MAX))
        return NOFILE_MAX
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def sessions_max(config: Config, nofile: int, workers: int) -> tuple[int, str | None]:
    """What one worker may carry, and a warning when that is less than the configuration wishes, or than its
    listening sockets leave room for.

    Each worker has `nofile` descriptors of its own. In the worst case it stands in for all the others, and
    holds every listening socket.
    """
    binds = [bind for listener in config.listeners for bind in listener.binds]
    at_paths = sum(isinstance(bind, UnixAddress) for bind in binds)  # one socket is for all workers there
    listening = workers * (len(binds) - at_paths) + at_paths
    free = nofile - FDS_RESERVED - listening - FDS_PER_PIPE * pipes_max(workers, nofile)
    carried = max(free // FDS_PER_SESSION, 1)
    wished = config.sessions_max
    if wished is None and carried < listening:
        return carried, (
            f"sessions_max: {listening} listening sockets leave a worker room for {carried} sessions, "
            f"of {nofile} descriptors; raise the limit (`ulimit -n`, LimitNOFILE=)"
        )
    if wished is None or wished <= carried * workers:
        return min(carried, wished or carried), None
    return carried, (
        f"sessions_max: {wished} is more than {nofile} descriptors per worker carry: {carried * workers}; "
        "raise the limit (`ulimit -n`, LimitNOFILE=)"
    )


def backlog_warning(config: Config, root: Path = ROOT) -> str | None:
    """The kernel cuts a backlog down without a word."""
    somaxconn = number_in(root / "proc/sys/net/core/somaxconn", 4096)
    wished = max((listener.tcp.backlog for listener in config.listeners), default=0)
    if wished <= somaxconn:
        return None
    return f"tcp.backlog: {wished} is more than net.core.somaxconn allows, which is {somaxconn}"


def fast_open_warning(config: Config, root: Path = ROOT) -> str | None:
    """Nor does it say that it takes no data with the SYN."""
    allowed = number_in(root / "proc/sys/net/ipv4/tcp_fastopen", 0)
    if allowed & FAST_OPEN_SERVERS or not any(listener.tcp.fast_open for listener in config.listeners):
        return None
    return (
        f"tcp.fast_open: net.ipv4.tcp_fastopen is {allowed}, and does not let servers do it; "
        f"set it to {allowed | FAST_OPEN_SERVERS}"
    )


def pipes_max(workers: int, nofile: int, root: Path = ROOT) -> int:
    """Pipes for splicing, per worker. Past the user's allowance the kernel makes pipes of a single page, and
    where descriptors are few, sessions need them more."""
    most = min(PIPES_MAX, int(nofile * PIPE_FDS_SHARE) // FDS_PER_PIPE)
    pages = number_in(root / "proc/sys/fs/pipe-user-pages-soft", 16384)
    if pages == 0:  # no limit
        return most
    return min(int(pages * PIPE_SHARE) // PIPE_PAGES // workers, most)


def worker_count(config: Config, root: Path = ROOT) -> int:
    """As configured, else one per CPU that lb may use: its affinity, and the quota of its control group."""
    if config.workers.count is not None:
        return min(config.workers.count, WORKERS_MAX)
    cpus = len(set(config.workers.cpus or os.sched_getaffinity(0)))
    quota = math.ceil(cpu_quota(root))
    return max(min(cpus, quota, WORKERS_MAX), 1)


def cpu_quota(root: Path = ROOT) -> float:
    """In CPUs: the least of our control group and all above it. WORKERS_MAX when there is none."""
    quotas = [quota_of(folder) for folder in control_groups(root)]
    return min(quotas, default=float(WORKERS_MAX))


def control_groups(root: Path) -> Iterator[Path]:
    """The folders that may hold a CPU quota of ours, from our own group up, in version 2 and version 1.

    In a container the path may be the host's, and only the top folder is there to be seen.
    """
    mounted = root / "sys/fs/cgroup"
    for line in text_of(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = mounted / controllers if controllers else mounted
        group = PurePosixPath(path.strip("/"))
        for folder in (group, *group.parents):
            yield top / folder


def quota_of(folder: Path) -> float:
    if words := text_of(folder / "cpu.max").split():  # version 2: "max 100000" or "150000 100000"
        return float(WORKERS_MAX) if words[0] == "max" else int(words[0]) / int(words[1])
    quota = number_in(folder / "cpu.cfs_quota_us", -1)
    return float(WORKERS_MAX) if quota <= 0 else quota / number_in(folder / "cpu.cfs_period_us", 100000)


def number_in(path: Path, otherwise: int) -> int:
    return int(text_of(path) or otherwise)


def text_of(path: Path) -> str:
    """Empty when it is not there or not ours to read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
