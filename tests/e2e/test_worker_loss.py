"""A worker is killed: only its sessions end, its queue is served by another, and the books stay right."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from pathlib import Path

from tests.support.endpoints import endpoint, endpoints
from tests.support.exposition import CounterWatch
from tests.support.lb_process import LbProcess, configuration, one_pool, running_lb
from tests.support.load import exchanges
from tests.support.ports import free_port
from tests.support.sessions import connect, echoes, many
from tests.support.waiting import eventually, seconds_until, throughout

REPLACED_WITHIN_S = 1.0
QUEUE_SERVED_WITHIN_S = 0.5  # the promise is 50 ms
IDLE = 200
THREADS = 8
KILLS = 3  # in a row: more, and lb rightly takes its time (a worker that dies at once is not worth starting)


def serving_pid(lb: LbProcess, worker: int) -> int:
    """0 while it does not serve."""
    one = lb.status()["workers"][worker]
    return one["pid"] if one["state"] == "serving" else 0


def test_worker_killed_under_load_ends_only_its_sessions(folder: Path) -> None:
    web_port, idle_port = free_port(), free_port()
    with endpoints("http", "a b", folder) as web, endpoint("echo", "e", folder) as echo:
        text = configuration(
            workers=2,
            listeners={
                "web": {"bind": f"127.0.0.1:{web_port}", "pool": "web"},
                "idle": {"bind": f"127.0.0.1:{idle_port}", "pool": "idle"},
            },
            pools={
                "web": {
                    "endpoints": [{"name": n, "address": f"127.0.0.1:{e.port}"} for n, e in web.items()],
                    "check": {"type": "tcp"},
                },
                "idle": {"endpoints": [f"127.0.0.1:{echo.port}"]},
            },
        )
        with running_lb(text, folder) as lb, many(idle_port, IDLE) as idle:
            had = int(lb.metrics().sum("lb_worker_sessions_open", worker="0"))
            replaced_s = []
            with CounterWatch(lb.metrics) as watch, exchanges(web_port, folder, threads=THREADS) as client:
                for _ in range(KILLS):
                    replaced_s.append(kill_and_await(lb, 0))
            alive = [connection for connection in idle if echoes(connection)]
            print(
                f"\n{client.exchanges} exchanges, failures {dict(client.kinds())}, "
                f"slowest {client.slowest_ms} ms; worker 0 had {had} of {IDLE} idle sessions, "
                f"{IDLE - len(alive)} ended; replaced after {[round(s, 2) for s in replaced_s]} s; "
                f"{watch.scrapes} scrapes"
            )
            assert 0 < had < IDLE
            assert len(alive) == IDLE - had
            assert set(client.kinds()) <= {"answer reset", "answer closed"}
            assert len(client.failures) <= KILLS * THREADS
            assert watch.complaints == []
            assert max(replaced_s) < 2 * REPLACED_WITHIN_S
            eventually(lambda: gauges(lb) == [len(alive)] * 3, within_s=5, reason="the gauges are exact")
            assert lb.metrics().sum("lb_worker_restarts_total") == KILLS
            assert lb.health("a") == lb.health("b") == "UP"


def kill_and_await(lb: LbProcess, worker: int) -> float:
    """Kills it in the midst of load; returns after how long another process serves in its place."""
    pid = serving_pid(lb, worker)
    assert pid
    throughout(lambda: serving_pid(lb, worker) == pid, for_s=0.5, reason="it serves")
    os.kill(pid, signal.SIGKILL)
    return seconds_until(
        lambda: serving_pid(lb, worker) not in (0, pid), within_s=10, reason="the dead worker is replaced"
    )


def gauges(lb: LbProcess) -> list[float]:
    now = lb.metrics()
    kinds = ("lb_worker_sessions_open", "lb_listener_sessions_open", "lb_endpoint_sessions_open")
    return [now.sum(kind) for kind in kinds]


def test_worker_killed_with_connections_in_its_queue_has_them_served_at_once(folder: Path) -> None:
    """It is stopped first, so that connections are waiting in its queue when it dies."""
    port = free_port()
    with (
        endpoint("name", "a", folder) as a,
        running_lb(one_pool(port, {"a": a.port}, workers=2), folder) as lb,
    ):
        pid = lb.worker_pids()[0]
        os.kill(pid, signal.SIGSTOP)
        clients = [connect(port) for _ in range(60)]
        waiting = unanswered(clients, within_s=0.3)
        os.kill(pid, signal.SIGKILL)
        killed_s = time.monotonic()
        left = unanswered(waiting, within_s=5)
        served_s = time.monotonic() - killed_s
        print(
            f"\n{len(waiting)} of 60 waited in the dead worker's queue, served after {1000 * served_s:.0f} ms"
        )
        for one in clients:
            one.close()
        assert len(waiting) > 10
        assert not left
        assert served_s < QUEUE_SERVED_WITHIN_S


def unanswered(clients: list[socket.socket], within_s: float) -> list[socket.socket]:
    """Who has not been sent anything when the time is over, or all have been."""
    deadline_s = time.monotonic() + within_s
    with selectors.DefaultSelector() as selector:
        for one in clients:
            selector.register(one, selectors.EVENT_READ)
        while selector.get_map() and (left_s := deadline_s - time.monotonic()) > 0:
            for key, _ in selector.select(left_s):
                selector.unregister(key.fileobj)
        return [key.fileobj for key in selector.get_map().values()]  # type: ignore[misc]
