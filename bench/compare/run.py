"""The measurements of a run, one after the other, each repeated when it failed or was disturbed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.compare import plan
from bench.compare.measure import measure
from bench.compare.plan import CALIBRATION_S, Slot
from bench.compare.results import Results, Sample, error_of, foreign
from bench.compare.workload import Workload
from bench.peers import Peer

TRIES_MAX = 3  # all tries are kept in the data
SHOWN = ("cpu", "rate", "p50", "p99", "p999", "session_bytes", "rest_mb")


class Run:
    """Fills `results`, and writes them to `path` after each round: what is killed leaves its rounds.

    A measurement in which strangers used more than `foreign_percent_max` is repeated, at most TRIES_MAX in
    all; None keeps it, marked.
    """

    def __init__(
        self, results: Results, path: Path, peers: Sequence[Peer], foreign_percent_max: float | None
    ) -> None:
        self.results, self.path = results, path
        self.peers = {peer.name: peer for peer in peers}
        self.foreign_percent_max = foreign_percent_max
        self.rates: dict[str, float] = results.document["rates"]

    def calibrate(self, slots: Sequence[Slot], workloads: Sequence[Workload]) -> None:
        """Measures what the open-loop workloads' rates are taken from."""
        for slot in slots:
            self.take(slot, CALIBRATION_S)
        for workload in workloads:
            if workload.loop == "open":
                rate = plan.rate_of(workload, list(self.peers.values()), self.results.samples)
                self.rates[workload.name] = rate
                say(f"{workload.name}: {rate:.0f} {workload.unit}s per second")

    def go(self, slots: Sequence[Slot], seconds: float) -> None:
        for number, slot in enumerate(slots):
            if number and slot.round != slots[number - 1].round:
                self.results.write(self.path)
            if slot.workload.loop != "open" or self.rates[slot.workload.name]:
                self.take(slot, seconds)

    def take(self, slot: Slot, seconds: float) -> None:
        for tries in range(1, TRIES_MAX + 1):
            sample = measure(slot, self.peers[slot.peer], seconds, self.rates.get(slot.workload.name, 0.0))
            self.results.samples.append(sample)
            log = sample["log"]
            say(f"{slot.round:2} {slot.workload.name:16} log {log:3} {slot.peer:15} {brief(sample)}")
            why = self.to_repeat(sample)
            if why is None or tries == TRIES_MAX:
                return
            sample["dropped"] = why

    def to_repeat(self, sample: Sample) -> str | None:
        if "failed" in sample:
            return "failed"
        if self.foreign_percent_max is not None and foreign(sample) > self.foreign_percent_max:
            return f"strangers used {foreign(sample):.0f} % of a CPU"
        return None


def brief(sample: Sample) -> str:
    """One line while it runs."""
    if "failed" in sample:
        return "FAILED: " + sample["failed"].splitlines()[0]
    shown = " ".join(f"{key} {sample[key]:.6g}" for key in SHOWN if key in sample)
    trouble = f" {error_of(sample)}" if sample["errors_total"] else ""
    return f"{shown} foreign {foreign(sample):.0f} %{trouble}"


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
