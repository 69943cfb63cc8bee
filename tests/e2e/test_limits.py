"""At a limit the backlog waits: nothing is refused, nothing spins, and all are served when there is room."""

from __future__ import annotations

import os
import select
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoints import endpoint, endpoints, ports_of
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.sessions import connect, echoes, many, read_exactly
from tests.support.streams import InThread
from tests.support.vitals import cpu_percent
from tests.support.waiting import eventually, throughout

IDLE_PERCENT_MAX = 20


def sessions_open(lb: LbProcess) -> float:
    return lb.metrics().sum("lb_listener_sessions_open")


@pytest.mark.parametrize("whose", ["listener", "global"])
@pytest.mark.parametrize("workers", [1, 2])
def test_sessions_over_the_limit_wait_in_the_backlog(whose: str, workers: int, folder: Path) -> None:
    """Ten may be open. Twenty more connect (the kernel answers for lb) and are served when the first leave.

    Workers that accept at the same moment may each take the last place: one more for each but one.
    """
    port, most = free_port(), 10 + workers - 1
    limit: dict[str, Any] = {"sessions_max": 10}
    with endpoint("echo", "a", folder) as a:
        keys = {"listener": limit} if whose == "listener" else limit
        text = one_pool(port, {"a": a.port}, workers=workers, **keys)
        with running_lb(text, folder) as lb, ExitStack() as opened:
            clients = [opened.enter_context(connect(port)) for _ in range(30)]
            for client in clients:
                client.sendall(b"ping")
            eventually(lambda: count_served(clients) >= 10, within_s=5, reason="ten are served")
            throughout(
                lambda: count_served(clients) <= most and sessions_open(lb) <= most,
                for_s=0.5,
                reason="no more than the limit are open",
            )
            waiting = [client for client in clients if is_silent(client)]
            for client in clients:
                if client not in waiting:
                    assert read_exactly(client, 4) == b"ping"
                    client.close()
            in_turn(waiting)
            assert lb.metrics().sum("lb_accept_paused_total") > 0
            assert lb.metrics().sum("lb_listener_refused_total") == 0
            eventually(lambda: sessions_open(lb) == 0, within_s=5, reason="all have ended")
            assert [line["reason"] for line in lb.whole_access()] == ["done"] * 30


def in_turn(waiting: list[socket.socket]) -> None:
    """Each leaves when it was served, which makes room for the next."""
    while waiting:
        served = select.select(waiting, [], [], 5)[0]
        assert served, f"{len(waiting)} clients wait for ever"
        for client in served:
            assert read_exactly(client, 4) == b"ping"
            assert echoes(client)
            client.close()
            waiting.remove(client)


def count_served(clients: list[socket.socket]) -> int:
    return sum(not is_silent(client) for client in clients)


def is_silent(client: socket.socket) -> bool:
    """Nothing has come, not even an end."""
    return not select.select([client], [], [], 0)[0]


def test_waiting_at_the_limit_does_not_spin(folder: Path) -> None:
    port = free_port()
    with endpoint("echo", "a", folder) as a:
        text = one_pool(port, {"a": a.port}, workers=1, sessions_max=5)
        with running_lb(text, folder) as lb, many(port, 5), ExitStack() as opened:
            for _ in range(50):
                opened.enter_context(connect(port))
            worker = lb.worker_pids()[0]

            def wait() -> None:
                throughout(lambda: sessions_open(lb) == 5, for_s=1, reason="five are open", every_s=0.2)

            percent = cpu_percent(worker, wait)
            print(f"\na worker at its limit with 50 waiting uses {percent:.1f} % of a CPU")
            assert percent < IDLE_PERCENT_MAX


def test_endpoint_at_its_limit_leaves_sessions_to_the_others(folder: Path) -> None:
    port = free_port()
    with endpoints("echo", "a b", folder) as started:
        ports = ports_of(started)
        members = [
            {"name": "a", "address": f"127.0.0.1:{ports['a']}", "sessions_max": 3},
            {"name": "b", "address": f"127.0.0.1:{ports['b']}"},
        ]
        text = one_pool(port, {}, pool={"endpoints": members}, workers=1)
        with running_lb(text, folder) as lb, many(port, 20) as sessions:
            assert [lb.endpoint(name)["sessions_open"] for name in "ab"] == [3, 17]
            assert all(echoes(one) for one in sessions)
            assert lb.endpoint("a")["health"] != "DOWN"  # full is not down


def test_burst_while_the_worker_is_stopped_overflows_no_backlog(folder: Path) -> None:
    """Two thousand connect at once while nobody accepts: each is served, none is refused."""
    port, burst = free_port(), 2000
    with (
        endpoint("name", "a", folder) as a,
        running_lb(one_pool(port, {"a": a.port}, workers=1), folder) as lb,
        ExitStack() as opened,
    ):
        worker = lb.worker_pids()[0]
        os.kill(worker, signal.SIGSTOP)
        try:
            clients = [opened.enter_context(connect(port)) for _ in range(burst)]
        finally:
            os.kill(worker, signal.SIGCONT)
        served = InThread(lambda: sum(read_exactly(client, 1) == b"a" for client in clients))
        assert served.result(30) == burst
