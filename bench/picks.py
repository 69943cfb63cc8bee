"""What a pick costs: nanoseconds for each policy, by endpoints and by workers' columns of the scoreboard.

    python -m bench.picks [--passes N]

A pick is all that the data path does to choose: hash, draws, look-ups, sums over the columns, and for
round_robin the shared cursor. Every worker has some sessions at every endpoint; nobody else writes the
scoreboard meanwhile, so cache lines that other CPUs would take away stay. The least of several rounds counts,
and of several passes over all of them: who else uses the machine comes and goes.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bench.compare import facts
from bench.process import ROOT
from lb._ext import trial
from lb.model.address import Address
from lb.model.pool import HashOn, Policy
from lb.model.snapshot import EndpointLine, HashTable, PoolLine, Snapshot
from lb.shell.datapath import Board, Engine, compile_snapshot

ENDPOINTS = (3, 30, 300, 1000)
WORKERS = (1, 8)
SLOTS = 65537
ROUNDS = 7
ROUND_NS_MIN = 5_000_000  # a round of fewer picks than fill this says more of the clock than of them
Found = dict[str, dict[str, dict[str, float]]]  # by policy, workers and endpoints
CASES: tuple[tuple[str, Policy, dict[str, Any]], ...] = (
    ("round_robin", Policy.ROUND_ROBIN, {}),
    ("random", Policy.RANDOM, {}),
    ("power_of_two", Policy.POWER_OF_TWO, {}),
    ("peak_ewma", Policy.PEAK_EWMA, {}),
    ("source_hash", Policy.SOURCE_HASH, {}),
    ("maglev", Policy.MAGLEV, {}),
    ("maglev, bound 125 %", Policy.MAGLEV, {"bound_percent": 125}),
    ("maglev, half DOWN", Policy.MAGLEV, {"is_half_down": True}),
    ("least_connections", Policy.LEAST_CONNECTIONS, {}),
    ("least_connections, weights", Policy.LEAST_CONNECTIONS, {"weights": True}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--passes", type=int, default=5)
    passes = parser.parse_args().passes
    found: Found = {name: {} for name, _, _ in CASES}
    for _ in range(passes):
        for name, policy, options in CASES:
            for workers in WORKERS:
                measure(found[name].setdefault(str(workers), {}), policy, workers, options)
    print_table(found)
    path = ROOT / "bench" / "results" / f"{time.strftime('%Y-%m-%d')}-picks.json"
    rest = {"passes": passes, "rounds": ROUNDS, "ns_by_workers_and_endpoints": found}
    path.write_text(json.dumps({"facts": facts.gather([])} | rest, indent=1) + "\n")
    print(path.relative_to(ROOT))


def measure(least: dict[str, float], policy: Policy, workers: int, options: dict[str, Any]) -> None:
    for endpoints in ENDPOINTS:
        with scene(policy, endpoints, workers, **options) as engine:
            ns = round(least_ns(engine), 1)
        least[str(endpoints)] = min(ns, least.get(str(endpoints), ns))


def least_ns(engine: Engine) -> float:
    count = 100
    while trial.time_picks(engine, count) < ROUND_NS_MIN:
        count *= 2
    return min(trial.time_picks(engine, count) for _ in range(ROUNDS)) / count


@contextmanager
def scene(
    policy: Policy,
    endpoints: int,
    workers: int,
    *,
    bound_percent: int = 0,
    is_half_down: bool = False,
    weights: bool = False,
) -> Iterator[Engine]:
    lots = random.Random(endpoints)
    board = Board.create(workers)
    engine = Engine(worker=0, sessions_max=1, sessions_max_all=0, pipes_max=0, board_fd=board.fd, ring_fd=-1)
    weight_of = [lots.randint(1, 4) if weights else 1 for _ in range(endpoints)]
    eligible = tuple(number for number in range(endpoints) if not (is_half_down and number % 2))
    fd = compile_snapshot(snapshot(policy, weight_of, eligible, bound_percent))
    engine.publish(fd)
    os.close(fd)
    trial.set_clock(engine, time.monotonic_ns())
    for number in range(endpoints):
        for worker in range(workers):
            trial.set_open(engine, worker, number, lots.randint(50, 70))
        trial.note_connect(engine, number, lots.randint(100_000, 300_000))
    try:
        yield engine
    finally:
        engine.close()
        board.close()


def snapshot(policy: Policy, weights: list[int], eligible: tuple[int, ...], bound_percent: int) -> Snapshot:
    names = [f"endpoint-{number}" for number in range(len(weights))]
    members = tuple(
        sorted(zip(range(len(weights)), names, weights, strict=True), key=lambda member: member[1])
    )
    size = SLOTS if policy is Policy.MAGLEV else 0
    table = HashTable(HashOn.SOURCE_IP, size, bytes(range(16)), bound_percent, members)
    pool = PoolLine("pool", policy, 1200, 3, eligible, eligible, hash=table)
    lines = [
        EndpointLine(name, "pool", Address("127.0.0.1", 1), weight, 0)
        for name, weight in zip(names, weights, strict=True)
    ]
    return Snapshot(1, (), (pool,), tuple(lines))


def print_table(found: Found) -> None:
    columns = [(str(workers), str(endpoints)) for workers in WORKERS for endpoints in ENDPOINTS]
    heads = [f"{workers}w {endpoints}" for workers, endpoints in columns]
    print("ns per pick".ljust(28) + "".join(head.rjust(9) for head in heads))
    for name, ns in found.items():
        print(name.ljust(28) + "".join(f"{ns[workers][endpoints]:9.1f}" for workers, endpoints in columns))


if __name__ == "__main__":
    main()
