"""When every endpoint is full, sessions wait in the order in which they came, over all workers."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.lb_process import LbProcess, configuration, running_lb
from tests.support.ports import free_port
from tests.support.sessions import Acceptor, acceptor, closed, connect, read_exactly, turned_away
from tests.support.waiting import eventually


def text(port: int, endpoint: int, **queue: Any) -> str:
    """One endpoint with room for one session, which ends with its first end of stream."""
    member = {"name": "a", "address": f"127.0.0.1:{endpoint}", "sessions_max": 1}
    return configuration(
        listeners={"web": {"bind": f"127.0.0.1:{port}", "pool": "web", "timeouts": {"half_close": "0s"}}},
        pools={"web": {"endpoints": [member], "queue": {"max": 100, "timeout": "60s"} | queue}},
        workers=2,
    )


def queued(lb: LbProcess) -> float:
    return lb.metrics().sum("lb_pool_queued", pool="web")


def line_up(lb: LbProcess, port: int, stack: ExitStack, count: int) -> list[socket.socket]:
    """One after the other; each says its number."""
    waiting = []
    for number in range(count):
        client = stack.enter_context(connect(port))
        client.sendall(b"%04d" % number)
        waiting.append(client)
        eventually(lambda: queued(lb) == len(waiting), within_s=5, reason=f"number {number} waits")
    return waiting


def serve_all(endpoint: Acceptor, present: socket.socket, count: int) -> list[int]:
    served = []
    for _ in range(count):
        present.close()
        present = endpoint.accept()
        served.append(int(read_exactly(present, 4)))
    return served


def test_queue_drains_in_the_order_of_arrival(folder: Path) -> None:
    port = free_port()
    with acceptor() as a, ExitStack() as stack, running_lb(text(port, a.port), folder) as lb:
        present = a.session(port).upstream
        line_up(lb, port, stack, 20)
        shown = lb.command("status").stdout
        assert "POOL  QUEUED\nweb       20\n" in shown, shown
        assert lb.metrics().sum("lb_listener_sessions_open") == 21
        assert serve_all(a, present, 20) == list(range(20))
        seen = lb.metrics()
        assert (queued(lb), seen.sum("lb_pool_queued_total"), seen.sum("lb_listener_refused_total")) == (
            0,
            20,
            0,
        )
        stack.close()
        a.close()
        waits = [line["queue_ms"] for line in lb.whole_access()]
        assert sorted(wait > 0 for wait in waits) == [False] + [True] * 20


def test_queue_that_is_full_or_too_slow_refuses(folder: Path) -> None:
    port = free_port()
    with (
        acceptor() as a,
        ExitStack() as stack,
        running_lb(text(port, a.port, max=3, timeout="2s"), folder) as lb,
    ):
        a.session(port)
        waiting = line_up(lb, port, stack, 3)
        turned_away(port, 5)
        assert [closed(client, 10) for client in waiting] == ["reset"] * 3
        seen = lb.metrics()
        reasons = ("refused_limit", "queue_timeout")
        assert [seen.sum("lb_listener_refused_total", reason=reason) for reason in reasons] == [1, 3]


def test_worker_that_is_killed_takes_only_its_own_out_of_the_queue(folder: Path) -> None:
    port = free_port()
    with acceptor() as a, ExitStack() as stack, running_lb(text(port, a.port), folder) as lb:
        present = a.session(port).upstream
        clients = line_up(lb, port, stack, 16)
        by_worker = {line["worker"]: line["sessions_open"] for line in lb.status()["workers"]}
        victim = max(by_worker, key=lambda worker: by_worker[worker])
        os.kill(lb.worker_pids()[victim], signal.SIGKILL)
        eventually(lambda: queued(lb) < 16, within_s=10, reason="its sessions wait no more")
        survivors = [number for number, client in enumerate(clients) if not is_ended(client)]
        assert len(survivors) in (16 - by_worker[victim], 17 - by_worker[victim])
        assert serve_all(a, present, len(survivors)) == survivors
        assert queued(lb) == 0


def is_ended(client: socket.socket) -> bool:
    return bool(select.select([client], [], [], 0)[0]) and closed(client, 1) == "reset"
