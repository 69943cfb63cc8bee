"""A proxy as it runs: started, placed on its CPUs, and its processes followed.

What relays is alone on CPU 0; what does not (lb's supervisor, nginx's master, Envoy's other threads) shares
CPU 1 with the load. Of several workers each has a CPU of its own. All are counted, wherever they run.

Where latency is measured, what relays is first on CPU 0 (SCHED_RR), the same for every proxy: whatever else
the machine runs waits there. A monitor that read the table of 18 000 sockets once a second took that CPU for
33 ms at a time, which was every 99th percentile beside the 9000 idle sessions.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from bench.peers import Peer, Route, Setup
from bench.process import (
    LOAD_CPU,
    PROXY_CPU,
    READY_TIMEOUT_S,
    Child,
    Children,
    free_port,
    tree,
    wait_accepting,
)

WORKER_CPUS = (PROXY_CPU, LOAD_CPU)


class Proxy:
    """`ports` are its listeners', one per endpoint; `pids` the process and its descendants."""

    def __init__(self, child: Child, pids: list[int], ports: list[int]) -> None:
        self.child, self.pids, self.ports = child, pids, ports

    def check(self) -> None:
        """Raises Failed when a process came or went: its CPU time would be missing."""
        if (now := tree(self.child.pid)) != self.pids:
            raise self.child.failed(f"its processes changed during the run: {self.pids} before, {now} after")


def start(
    started: Children,
    peer: Peer,
    endpoint_ports: Sequence[int],
    *,
    logged: bool = False,
    workers: int = 1,
    first: bool = False,
) -> Proxy:
    """The peer before these endpoints, accepting and placed. `first`: nobody takes the CPU of what relays."""
    assert peer.command is not None
    routes = [Route(f"r{i}", free_port(), port) for i, port in enumerate(endpoint_ports)]
    words = peer.command(Setup(routes, started.folder, logged, workers))
    child = started.start("proxy", words, PROXY_CPU, cwd=peer.root)
    for route in routes:
        wait_accepting(child, route.port)
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    wanted = peer.processes_min + workers - 1
    try:
        while len(pids := tree(child.pid)) < wanted or place(pids, peer.relays, first=first) != workers:
            if time.monotonic() > deadline_s:
                raise child.failed(f"has not {wanted} processes of which {workers} relay, but {len(pids)}")
            time.sleep(0.02)
    except PermissionError as error:
        raise child.failed("cannot be first on its CPU: run as root or with CAP_SYS_NICE") from error
    return Proxy(child, pids, [route.port for route in routes])


def place(pids: Sequence[int], relays: str, *, first: bool) -> int:
    """Threads in whose name or command line `relays` stands get a worker's CPU, one for each process;
    others get the load's. Returns how many processes relay. Raises PermissionError without CAP_SYS_NICE.
    """
    workers = 0
    for pid in pids:
        relaying = False
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread may end meanwhile
                name = (task / "comm").read_text() + (task / "cmdline").read_text().replace("\0", " ")
                relaying |= relays in name
                cpu = WORKER_CPUS[workers % len(WORKER_CPUS)] if relays in name else LOAD_CPU
                os.sched_setaffinity(int(task.name), {cpu})
                if first and relays in name:
                    os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(1))
        workers += relaying
    return workers
