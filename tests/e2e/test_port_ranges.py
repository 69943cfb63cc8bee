"""A thousand ports: listened to at once, served by every worker, moved by a reload, and told in one line."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, configuration, running_lb
from tests.support.ports import own_host
from tests.support.sessions import WITHIN_S, echoes
from tests.support.waiting import eventually


@contextmanager
def session(host: str, port: int) -> Iterator[socket.socket]:
    with socket.create_connection((host, port), timeout=WITHIN_S) as client:
        yield client


def is_refused(host: str, port: int) -> bool:
    try:
        with session(host, port):
            return False
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False


def test_thousand_ports_are_served_moved_and_told_in_a_line(folder: Path) -> None:
    host = own_host()
    with endpoint("echo", "a", folder) as a:

        def text(first: int) -> str:
            return configuration(
                workers=2,
                listeners={"web": {"bind": f"{host}:{first}-{first + 999}", "pool": "web"}},
                pools={"web": {"endpoints": [f"127.0.0.1:{a.port}"]}},
            )

        with running_lb(text(20000), folder) as lb:
            assert lb.events("listener_opened")[0]["address"] == f"{host}:20000-20999"
            for port in range(20000, 21000, 37):
                with session(host, port) as client:
                    assert echoes(client)
            with session(host, 20999) as stays:
                assert echoes(stays)
                pids = lb.worker_pids()
                lb.replace(text(20500))
                assert lb.reload()["ok"]
                assert told(lb) == [f"{host}:20500-21499"]
                for port in range(20500, 21500, 37):
                    with session(host, port) as client:
                        assert echoes(client)
                eventually(
                    lambda: all(is_refused(host, port) for port in range(20000, 20500, 37)),
                    within_s=20,
                    reason="those that left are closed",
                )
                assert echoes(stays)
            assert lb.worker_pids() == pids
            assert not lb.events("worker_lost")
            assert sum(event["connections_lost"] for event in lb.events("listener_closed")) == 0


def told(lb: LbProcess) -> list[str]:
    binds: list[str] = lb.status()["listeners"][0]["binds"]
    shown = lb.command("status").stdout
    assert all(bind in shown for bind in binds)
    assert max(map(len, shown.splitlines())) < 200
    return binds
