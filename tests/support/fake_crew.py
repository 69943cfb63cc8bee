"""A crew of fake workers, and clients that ask who serves them."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lb.model.address import Address, SocketAddress
from lb.model.listener import Listener
from lb.model.record import Record
from lb.model.snapshot import Snapshot
from lb.shell.crew import Crew, WorkerSettings
from tests.support.async_waiting import until
from tests.support.connecting import is_refused
from tests.support.fake_board import FakeBoard, FakeRing

SETTINGS = WorkerSettings(layout=1, sessions_max=100, pipes_max=0, access=False, orphan_s=0, drain_s=0)
ANSWER_S_MAX = 5.0


class Served(NamedTuple):
    """What a client is told; `session` stays open until it is closed."""

    worker: int
    pid: int
    listener: int
    generation: int
    sockets: int
    session: socket.socket


class FakeCrew(Crew):
    """`conduct` says how processes behave that start from then on: see tests/support/fake_worker.py."""

    def __init__(self, folder: Path, count: int = 2, **conduct: Any) -> None:
        self.conduct_path = folder / "conduct.json"
        self.behave(**conduct)
        self.board = FakeBoard(count)
        self.rings = [FakeRing() for _ in range(count)]
        self.records: list[Record] = []
        self.failures: list[tuple[int, Mapping[str, int], int]] = []
        self.snapshots_compiled: list[int] = []
        super().__init__(
            count=count,
            cpus=None,
            board=self.board,
            rings=self.rings,
            settings=SETTINGS,
            compile_snapshot=self.compile,
            on_failures=lambda *failed: self.failures.append(failed),
            on_event=self.records.append,
            worker_command=(sys.executable, "-m", "tests.support.fake_worker", str(self.conduct_path)),
        )

    def behave(self, **conduct: Any) -> None:
        self.conduct_path.write_text(json.dumps(conduct))

    def compile(self, snapshot: Snapshot) -> int:
        self.snapshots_compiled.append(snapshot.generation)
        return os.memfd_create("snapshot")

    def events(self, name: str) -> list[dict[str, Any]]:
        return [record.facts for record in self.records if record.event == name]

    def states(self) -> list[str]:
        return [worker.state for worker in self.workers()]

    def pids(self) -> list[int]:
        return [worker.pid for worker in self.workers() if worker.pid is not None]

    async def serve(self, *listeners: Listener, generation: int = 1) -> None:
        """As a reload does it. Ids are given in order, from 0."""
        bound = self.bind(listeners)
        await self.publish(Snapshot(generation, (), (), ()))
        await self.open(bound, {listener.name: number for number, listener in enumerate(listeners)})
        await self.close_absent(listeners)

    async def all_serve(self) -> None:
        await until(lambda: set(self.states()) == {"serving"}, f"all workers serve: {self.records}")

    async def end(self) -> None:
        await self.stop()
        self.board.close()
        for ring in self.rings:
            ring.close()


async def ask(address: SocketAddress) -> Served:
    """Connect, and be told who serves. Raises OSError; TimeoutError when nobody does."""
    async with asyncio.timeout(ANSWER_S_MAX):
        loop = asyncio.get_running_loop()
        session = socket.socket(family_of(address))
        session.setblocking(False)
        try:
            where = (address.host, address.port) if isinstance(address, Address) else address.path
            await loop.sock_connect(session, where)
            line = await loop.sock_recv(session, 100)
        except BaseException:
            session.close()
            raise
        if not line:
            session.close()
            raise ConnectionResetError("closed before it was served")
        worker, pid, listener, generation, sockets = map(int, line.split())
        return Served(worker, pid, listener, generation, sockets, session)


def family_of(address: SocketAddress) -> socket.AddressFamily:
    if not isinstance(address, Address):
        return socket.AF_UNIX
    return socket.AF_INET6 if address.is_ipv6 else socket.AF_INET


async def ask_many(address: SocketAddress, count: int = 40) -> list[Served]:
    """One after the other, each session closed at once. With two workers, that one of them gets none of 40
    by chance is one in 10^12."""
    served = []
    for _ in range(count):
        served.append(await ask(address))
        served[-1].session.close()
    return served


async def refuses(address: Address, *, within_s: float = 5.0) -> None:
    """Wait until a client is refused; one that is ignored tries again by itself, as clients do."""
    async with asyncio.timeout(within_s):
        while not await asyncio.to_thread(is_refused, address):
            pass


def workers_of(served: Sequence[Served]) -> set[int]:
    return {one.worker for one in served}
