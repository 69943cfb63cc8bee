"""An engine that only picks: a pool, a scoreboard that the test fills in, and clients as plain addresses."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from lb._ext import trial
from lb.balance.schedule import Share, schedule
from lb.model.address import Address
from lb.model.pool import HashOn, Policy
from lb.model.snapshot import EndpointLine, HashTable, PoolLine, Snapshot
from lb.shell.datapath import Board, Engine, compile_snapshot

HASHED = (Policy.SOURCE_HASH, Policy.MAGLEV)
KEY = bytes(range(16))
FULL = "full"


class PickTrial:
    """`pick` gives an endpoint's number, FULL, or None where nothing is eligible that was not tried."""

    def __init__(self, snapshot: Snapshot, *, workers: int = 1, worker: int = 0, seed: int = 1) -> None:
        self.board = Board.create(workers)
        self.engines = [
            Engine(
                worker=index,
                sessions_max=1,
                sessions_max_all=0,
                pipes_max=0,
                board_fd=self.board.fd,
                ring_fd=-1,
            )
            for index in range(workers)
        ]
        self.engine = self.engines[worker]
        self.publish(snapshot)
        for index, engine in enumerate(self.engines):
            trial.set_seed(engine, seed * 2654435761 % (1 << 32) ^ index)
        self.clock(1000.0)

    def publish(self, snapshot: Snapshot) -> None:
        fd = compile_snapshot(snapshot)
        try:
            for engine in self.engines:
                engine.publish(fd)
        finally:
            os.close(fd)

    def clock(self, now_s: float) -> None:
        for engine in self.engines:
            trial.set_clock(engine, round(now_s * 1e9))

    def is_open(self, counts: Sequence[int], worker: int = 0) -> None:
        for number, count in enumerate(counts):
            trial.set_open(self.engine, worker, number, count)

    def pick(
        self,
        host: str = "10.0.0.1",
        port: int = 1,
        name: str = "",
        tried: Iterable[int] = (),
        worker: int = 0,
    ) -> int | str | None:
        found = trial.pick_one(self.engines[worker], host, port, name, tried)
        return None if found == trial.NOTHING else FULL if found == trial.ALL_FULL else found

    def slots(self) -> list[int]:
        return trial.slots_of(self.engine)

    def close(self) -> None:
        for engine in self.engines:
            engine.close()
        self.board.close()


@contextmanager
def picking(snapshot: Snapshot, **options: int) -> Iterator[PickTrial]:
    made = PickTrial(snapshot, **options)
    try:
        yield made
    finally:
        made.close()


def pool_of(
    policy: Policy,
    weights: Sequence[int],
    *,
    names: Sequence[str] | None = None,
    eligible: Sequence[int] | None = None,
    sessions_max: Sequence[int] | None = None,
    on: HashOn = HashOn.SOURCE_IP,
    size: int = 65537,
    key: bytes = KEY,
    bound_percent: int = 0,
    connect_timeout_ms: int = 1200,
) -> Snapshot:
    """A pool with an endpoint for each weight; all are eligible that have one, unless told otherwise."""
    called = names or [f"e{number}" for number in range(len(weights))]
    weighty = [number for number, weight in enumerate(weights) if weight]
    chosen = [number for number in (weighty if eligible is None else eligible) if weights[number]]
    members = sorted(
        ((number, called[number], weights[number]) for number in weighty), key=lambda member: member[1]
    )
    table = HashTable(on, size if policy is Policy.MAGLEV else 0, key, bound_percent, tuple(members))
    walked = schedule([Share(number, weights[number]) for number in chosen])
    pool = PoolLine(
        "pool",
        policy,
        connect_timeout_ms,
        3,
        tuple(chosen),
        () if policy in (*HASHED, Policy.LEAST_CONNECTIONS) else walked,
        hash=table if policy in HASHED else None,
    )
    lines = [
        EndpointLine(
            called[number],
            "pool",
            Address("127.0.0.1", 1),
            weight,
            sessions_max[number] if sessions_max else 0,
        )
        for number, weight in enumerate(weights)
    ]
    return Snapshot(1, (), (pool,), tuple(lines))
