"""One Engine in this process, with a thread that turns it: the data path without workers and a supervisor.

`bench` here as in workbench: listeners on loopback, endpoints given by the test, everything counted at the end.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Any

from lb.model.address import Address
from lb.model.pool import Policy
from lb.model.snapshot import EndpointLine, ListenerLine, PoolLine, Snapshot
from lb.shell.datapath import MORE, Board, Engine, Ring, compile_snapshot

STOP_S_MAX = 5.0


def snapshot_of(
    addresses: Sequence[tuple[str, int]],
    *,
    generation: int = 1,
    policy: Policy = Policy.ROUND_ROBIN,
    eligible: Sequence[int] | None = None,
    weights: Sequence[int] | None = None,
    endpoint_sessions_max: int = 0,
    sessions_max: int = 0,
    idle_ms: int = 60_000,
    half_close_ms: int = 10_000,
    reset_linger_ms: int = 2_000,
    connect_timeout_ms: int = 1_200,
    attempts_max: int = 3,
) -> Snapshot:
    """One listener (id 0), one pool (id 0), an endpoint per address; all are eligible unless told otherwise."""
    chosen = tuple(range(len(addresses)) if eligible is None else eligible)
    lines = [
        EndpointLine(f"e{i}", "pool", Address(*address), weights[i] if weights else 1, endpoint_sessions_max)
        for i, address in enumerate(addresses)
    ]
    pool = PoolLine("pool", policy, connect_timeout_ms, attempts_max, chosen, chosen)
    listener = ListenerLine(
        "web", 0, sessions_max, idle_ms, half_close_ms, reset_linger_ms, keepalive_s=(30, 10, 3)
    )
    return Snapshot(generation, (listener,), (pool,), tuple(lines))


class EngineBench:
    """Use as a context manager. Calls to the engine go through `call`, into its thread."""

    def __init__(
        self,
        snapshot: Snapshot,
        *,
        sessions_max: int = 1000,
        sessions_max_all: int = 0,
        pipes_max: int = 16,
        log: bool = True,
        host: str = "127.0.0.1",
    ) -> None:
        self.board = Board.create(1)
        self.ring = Ring.create()
        self.engine = Engine(
            worker=0,
            sessions_max=sessions_max,
            sessions_max_all=sessions_max_all,
            pipes_max=pipes_max,
            board_fd=self.board.fd,
            ring_fd=self.ring.fd if log else -1,
        )
        self.publish(snapshot)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family, backlog=1024) as listening:
            listening.setblocking(False)
            for level, name in OPTIONS:
                listening.setsockopt(level, name, 1)
            self.address = listening.getsockname()
            self.engine.listen(7, 0, os.dup(listening.fileno()))
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._calls: list[tuple[Callable[[], Any], threading.Event, list[Any]]] = []
        self._stopping = False
        self._thread = threading.Thread(target=self._turn, name="engine", daemon=True)

    def publish(self, snapshot: Snapshot) -> None:
        """Before the thread runs, or through `call`."""
        fd = compile_snapshot(snapshot)
        try:
            self.engine.publish(fd)
        finally:
            os.close(fd)

    def call(self, function: Callable[[], Any]) -> Any:
        """Runs it between two steps."""
        done, answer = threading.Event(), list[Any]()
        self._calls.append((function, done, answer))
        os.eventfd_write(self._bell, 1)
        assert done.wait(STOP_S_MAX), "the engine's thread did not come round"
        return answer[0]

    def lines(self) -> list[bytes]:
        """The access-log lines so far; each is given once."""
        return self.ring.map.take().splitlines()

    def _turn(self) -> None:
        poll = select.poll()
        poll.register(self.engine.fileno(), select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        more = 0
        while not self._stopping:
            poll.poll(0 if more & MORE else 1000)
            while self._calls:
                function, done, answer = self._calls.pop(0)
                answer.append(function())
                done.set()
            more = self.engine.step()

    def __enter__(self) -> EngineBench:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping = True
        os.eventfd_write(self._bell, 1)
        self._thread.join(STOP_S_MAX)
        held = self.engine.held()
        self.engine.close()
        self.board.close()
        self.ring.close()
        os.close(self._bell)
        assert not self._thread.is_alive()
        self.held_at_end = held


OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_OOBINLINE))
