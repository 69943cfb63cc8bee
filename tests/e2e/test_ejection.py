"""An endpoint that hangs behind a check that cannot see it: sessions show it."""

from __future__ import annotations

import signal
import socket
import struct
import time
from pathlib import Path

from lb.model.address import Address
from tests.support.endpoints import endpoints, ports_of
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.scripted import Scripted, scripted
from tests.support.sessions import connect, echoes, read_exactly
from tests.support.waiting import eventually

FIRST_BYTE_TIMEOUT_S = 0.3
SESSIONS_MAX = 200
SESSIONS = 12  # half of them go to the endpoint that hangs
EJECTED_WITHIN_S = 2 * FIRST_BYTE_TIMEOUT_S + 0.5


def is_ejected(lb: LbProcess, name: str) -> bool:
    ejected: bool = lb.endpoint(name)["ejected"]
    return ejected


def asked(port: int) -> list[socket.socket]:
    clients = [connect(port) for _ in range(SESSIONS)]
    for client in clients:
        client.sendall(b"ping")
    return clients


def test_endpoint_that_hangs_is_set_aside_by_its_sessions_and_comes_back(folder: Path) -> None:
    port = free_port()
    outlier = {"first_byte_timeout": f"{FIRST_BYTE_TIMEOUT_S * 1000:.0f}ms", "ejection": "3s"}
    pool = {"check": {"type": "tcp"}, "outlier": outlier}
    with endpoints("echo", "a b", folder) as started:
        text = one_pool(port, ports_of(started), pool=pool, workers=2)
        with running_lb(text, folder) as lb:
            assert not is_ejected(lb, "a")
            started["a"].process.signal(signal.SIGSTOP)
            began_s = time.monotonic()
            clients = asked(port)
            eventually(lambda: is_ejected(lb, "a"), within_s=5.0, reason="its sessions got no byte")
            took_s = time.monotonic() - began_s
            print(f"\nset aside {took_s:.2f} s after it hung")
            assert took_s < 2 * EJECTED_WITHIN_S
            assert lb.health("a") == "UP", "a tcp check sees nothing of it"
            assert "EJECTED" in lb.command("status").stdout
            for _ in range(10):
                with connect(port) as client:
                    assert echoes(client)
            [event] = [each for each in lb.events("endpoint_changed") if each["axis"] == "ejected"]
            assert event["cause"] == "OUTLIER"
            assert "silent" in event["evidence"]
            metrics = lb.metrics()
            assert metrics.sum("lb_endpoint_ejections_total", endpoint="a") == 1
            assert metrics.sum("lb_endpoint_connect_failures_total", endpoint="a", reason="silent") >= 5
            started["a"].process.signal(signal.SIGCONT)
            assert all(read_exactly(client, 4) == b"ping" for client in clients), "they went on"
            eventually(lambda: not is_ejected(lb, "a"), within_s=10.0, reason="it is back")


def test_endpoint_that_resets_its_sessions_is_set_aside(folder: Path) -> None:
    """The check is at another port, where all is well."""
    port = free_port()
    with endpoints("echo", "b probed", folder) as started, scripted(resetting) as bad:
        ports = {"a": port_of(bad), "b": started["b"].port}
        pool = {"check": {"type": "tcp", "port": started["probed"].port}}
        with running_lb(one_pool(port, ports, pool=pool), folder) as lb:
            lost = count = 0
            while not is_ejected(lb, "a") and count < SESSIONS_MAX:
                with connect(port) as client:
                    lost += not echoes(client)
                count += 1
            print(f"\nset aside after {lost} of {count} sessions were lost")
            assert 5 <= lost <= SESSIONS_MAX / 2
            for _ in range(10):
                with connect(port) as client:
                    assert echoes(client)


def resetting(connection: socket.socket) -> None:
    connection.recv(4)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise ConnectionResetError  # it is closed now


def port_of(endpoint: Scripted) -> int:
    assert isinstance(endpoint.address, Address)
    return endpoint.address.port
