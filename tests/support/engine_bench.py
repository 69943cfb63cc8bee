"""One Engine in this process, with a thread that turns it: the data path without workers and a supervisor.

`bench` as in workbench: listeners on loopback, endpoints given by the test, all counted at the end.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from lb.model.address import Address, SocketAddress, UnixAddress
from lb.model.pool import Policy
from lb.model.snapshot import EndpointLine, ListenerLine, PoolLine, Snapshot
from lb.shell.datapath import MORE, Board, Engine, Ring, compile_snapshot

CALL_S_MAX = 10.0
SERVE_MS = 250  # as a worker
OPTIONS = ((socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_OOBINLINE))


def socket_address(where: tuple[str, int] | str) -> SocketAddress:
    """A text is the path of a unix socket."""
    return UnixAddress(where) if isinstance(where, str) else Address(*where)


def snapshot_of(
    addresses: Sequence[tuple[str, int] | str],
    *,
    generation: int = 1,
    policy: Policy = Policy.ROUND_ROBIN,
    eligible: Sequence[int] | None = None,
    schedule: Sequence[int] | None = None,
    weights: Sequence[int] | None = None,
    endpoint_sessions_max: int = 0,
    sessions_max: int = 0,
    idle_ms: int = 60_000,
    half_close_ms: int = 10_000,
    reset_linger_ms: int = 2_000,
    connect_timeout_ms: int = 1_200,
    attempts_max: int = 3,
    listeners: int = 1,
    keepalive_s: tuple[int, int, int] = (30, 10, 3),
    sources: Sequence[str] = (),
    **rest: Any,
) -> Snapshot:
    """One pool (id 0), an endpoint per address, all eligible unless told otherwise; listeners 0 to n-1.

    `rest`: further values of the listener's line or the pool's, by name.
    """
    of_pool = {key: rest.pop(key) for key in PoolLine.__slots__ if key in rest}
    chosen = tuple(range(len(addresses)) if eligible is None else eligible)
    lines = [
        EndpointLine(
            f"e{i}", "pool", socket_address(address), weights[i] if weights else 1, endpoint_sessions_max
        )
        for i, address in enumerate(addresses)
    ]
    walked = chosen if schedule is None else tuple(schedule)
    pool = PoolLine(
        "pool", policy, connect_timeout_ms, attempts_max, chosen, walked, sources=tuple(sources), **of_pool
    )
    listener = ListenerLine(
        "web", 0, sessions_max, idle_ms, half_close_ms, reset_linger_ms, keepalive_s, **rest
    )
    return Snapshot(generation, (listener,) * listeners, (pool,), tuple(lines))


class EngineBench:
    """Once started, calls to the engine go through `call`, into its thread; until then the test turns it."""

    def __init__(
        self,
        snapshot: Snapshot | None,
        *,
        board: Board | None = None,
        worker: int = 0,
        sessions_max: int = 1000,
        sessions_max_all: int = 0,
        pipes_max: int = 16,
        log: bool = True,
        host: str = "127.0.0.1",
        receive_bytes: int = 0,
    ) -> None:
        """`receive_bytes`: of each client's socket; 0: the kernel's own choice."""
        self.board = board if board is not None else Board.create(1)
        self.ring = Ring.create()
        self.engine = Engine(
            worker=worker,
            sessions_max=sessions_max,
            sessions_max_all=sessions_max_all,
            pipes_max=pipes_max,
            board_fd=self.board.fd,
            ring_fd=self.ring.fd if log else -1,
        )
        if snapshot is not None:
            self.publish(snapshot)
        self._receive_bytes = receive_bytes
        self.address = self.listen(7, 0, host)
        self.findings: Counter[int] = Counter()  # what serve() or step() returned
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._calls: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._thread: threading.Thread | None = None

    # ---- Orders; before it is started, or through `call` ----

    def publish(self, snapshot: Snapshot) -> int:
        fd = compile_snapshot(snapshot)
        try:
            return self.engine.publish(fd)
        finally:
            os.close(fd)

    def listen(self, number: int, listener: int, host: str = "127.0.0.1") -> tuple[str, int]:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.create_server((host, 0), family=family, backlog=1024) as listening:
            listening.setblocking(False)
            if self._receive_bytes:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
            for level, name in OPTIONS:
                listening.setsockopt(level, name, 1)
            self.engine.listen(number, listener, os.dup(listening.fileno()))
            host, port = listening.getsockname()[:2]
            return host, port

    def listen_unix(self, number: int, listener: int, path: str) -> str:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(path)
            listening.listen(1024)
            listening.setblocking(False)
            self.engine.listen(number, listener, os.dup(listening.fileno()))
        return path

    # ---- Turning ----

    def start(self) -> EngineBench:
        self._thread = threading.Thread(target=self._turn, name="engine", daemon=True)
        self._thread.start()
        return self

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Runs it between two steps; returns or raises what it does."""
        done, answer, raised = threading.Event(), list[Any](), list[Exception]()

        def answered() -> None:
            try:
                answer.append(function(*arguments))
            except Exception as error:
                raised.append(error)
            done.set()

        self._calls.append(answered)
        os.eventfd_write(self._bell, 1)
        assert done.wait(CALL_S_MAX), "the engine's thread did not come round"
        if raised:
            raise raised[0]
        return answer[0]

    def _turn(self) -> None:
        self.engine.watch(self._bell)
        while not self._stopping:
            self.findings[self.engine.serve(SERVE_MS)] += 1
            with suppress(BlockingIOError):
                os.eventfd_read(self._bell)
            while self._calls:
                self._calls.popleft()()

    def turn_until(
        self, condition: Callable[[], bool], *, turns_max: int = 200, timeout_ms: int = 500
    ) -> None:
        """For a bench that was not started: waits for the descriptor and steps, as a worker's loop does."""
        poll = select.poll()
        poll.register(self.engine.fileno(), select.POLLIN)
        found = MORE
        for _ in range(turns_max):
            if condition():
                return
            poll.poll(0 if found & MORE else timeout_ms)
            found = self.engine.step()
            self.findings[found] += 1
        raise AssertionError(f"not after {turns_max} turns")

    def stop(self) -> None:
        """The thread ends; the engine stays as it is."""
        if self._thread is not None:
            self._stopping = True
            os.eventfd_write(self._bell, 1)
            self._thread.join(CALL_S_MAX)
            assert not self._thread.is_alive(), "the engine's thread does not end"
            self._thread = None

    def close(self) -> None:
        self.stop()
        self.engine.close()
        self.board.close()
        self.ring.close()
        os.close(self._bell)

    # ---- What is seen ----

    @property
    def is_started(self) -> bool:
        return self._thread is not None

    def lines(self) -> list[bytes]:
        """The access-log lines so far; each is given once."""
        return self.ring.map.take().splitlines()

    def is_empty(self) -> bool:
        return self.engine.sessions_open == 0 and not any(self.engine.held().values())
