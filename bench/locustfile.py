"""Users for locust: through lb to real endpoints. Any failure makes locust exit with 1.

    locust -f bench/locustfile.py --headless -u 100 -r 50 -t 20s --host http://127.0.0.1:8080

TcpUser: connect, EXCHANGES small messages over the open session, each answered by its echo, close. It fires
the events `connect`, `exchange` and `close`. HttpUser: GET over kept connections, and now and then a GET on a
connection of its own.

Addresses: LB_BENCH_TCP=host:port and LB_BENCH_HTTP=http://host:port; without them --host is for HTTP, and a
user without an address takes no part. LB_BENCH_TCP must lead to an endpoint that echoes.
"""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from locust import FastHttpUser, User, between, events, task
from locust.exception import RescheduleTask

EXCHANGES = 20
MESSAGE_BYTES = 64
TIMEOUT_S = 5.0
TCP = os.environ.get("LB_BENCH_TCP")
HTTP = os.environ.get("LB_BENCH_HTTP")


class TcpUser(User):
    """One session after another; locust has patched `socket`, so waiting yields to other users."""

    wait_time = between(0.0, 0.02)
    abstract = TCP is None

    @task
    def session(self) -> None:
        with self.timed("connect"):
            connection = socket.create_connection(address_of(TCP or ""), timeout=TIMEOUT_S)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            for _ in range(EXCHANGES):
                message = random.randbytes(MESSAGE_BYTES)
                with self.timed("exchange", MESSAGE_BYTES):
                    connection.sendall(message)
                    if receive(connection, MESSAGE_BYTES) != message:
                        raise ConnectionError("the answer is not what was sent")
            with self.timed("close"):
                connection.shutdown(socket.SHUT_WR)
                if connection.recv(1) != b"":
                    raise ConnectionError("a byte after the last answer")

    @contextmanager
    def timed(self, name: str, size: int = 0) -> Iterator[None]:
        """Fires one request event (ms); what went wrong is reported and ends the session."""
        begin_s = time.perf_counter()
        failure: Exception | None = None
        try:
            yield
        except OSError as error:
            failure = error
        self.environment.events.request.fire(
            request_type="TCP",
            name=name,
            response_time=(time.perf_counter() - begin_s) * 1000,
            response_length=size,
            exception=failure,
            context={},
        )
        if failure is not None:
            raise RescheduleTask from failure  # the session is over, the user goes on; it was reported above


class WebUser(FastHttpUser):
    """Small GETs; locust counts every status from 400 on, and every broken connection, as a failure."""

    wait_time = between(0.0, 0.02)
    host = HTTP
    abstract = HTTP is None and TCP is not None
    network_timeout = connection_timeout = TIMEOUT_S

    @task(9)
    def kept(self) -> None:
        self.client.get("/", name="kept")

    @task(1)
    def alone(self) -> None:
        self.client.get("/", name="alone", headers={"Connection": "close"})


def address_of(text: str) -> tuple[str, int]:
    host, _, port = text.removeprefix("tcp://").rpartition(":")
    return host.strip("[]"), int(port)


def receive(connection: socket.socket, size: int) -> bytes:
    parts = b""
    while len(parts) < size:
        part = connection.recv(size - len(parts))
        if not part:
            raise ConnectionError(f"the session ended after {len(parts)} of {size} bytes")
        parts += part
    return parts


@events.quitting.add_listener
def judge(environment: Any, **_: Any) -> None:
    """One failure is too many; a run in which nothing happened shows nothing."""
    total = environment.stats.total
    if total.fail_ratio > 0 or total.num_requests == 0:
        environment.process_exit_code = 1
