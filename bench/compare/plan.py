"""Which measurements are made, in which order, and how long that takes (pure)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.compare.workload import WORKLOADS, Workload
from bench.peers import Peer

# Seconds that a measurement takes beside its window, as seen: warm-up, start and end of all programs.
BESIDE_S = {"closed": 0.8, "open": 0.8, "held": 2.0}
OURS_BESIDE_S = 1.1  # two interpreters to start, and a drain at the end
IDLE_BESIDE_S = 1.6  # opening 9000 sessions and closing them
CALIBRATION_S = 1.0


@dataclass(frozen=True)
class Slot:
    """One measurement of one peer."""

    workload: Workload
    peer: str
    logged: bool
    round: int

    def as_dict(self) -> dict[str, Any]:
        log = "on" if self.logged else "off"
        return {"workload": self.workload.name, "peer": self.peer, "log": log, "round": self.round}

    def estimate_s(self, seconds: float) -> float:
        window_s = 0.0 if self.workload.loop == "held" else seconds
        ours_s = OURS_BESIDE_S if is_ours(self.peer) else 0.0
        return (
            window_s + BESIDE_S[self.workload.loop] + ours_s + (IDLE_BESIDE_S if self.workload.idle else 0.0)
        )


def slots(
    workloads: Sequence[Workload], peers: Sequence[Peer], logs: Sequence[bool], rounds: int
) -> Iterator[Slot]:
    """Round by round, each workload with every peer one after the other, in another order each round."""
    for number in range(1, rounds + 1):
        for workload in workloads:
            if workload.rounds_max and number > workload.rounds_max:
                continue
            for logged in logs:
                taking_part = [peer for peer in peers if takes_part(peer, workload, logged)]
                for peer in order(taking_part, number):
                    yield Slot(workload, peer.name, logged, number)


def order(peers: Sequence[Peer], number: int) -> list[Peer]:
    """Rotated every two rounds and backwards every other one, so that each is early and late in turn."""
    if not peers:
        return []
    first = (number - 1) // 2 % len(peers)
    turned = [*peers[first:], *peers[:first]]
    return turned if number % 2 else turned[::-1]


def takes_part(peer: Peer, workload: Workload, logged: bool) -> bool:
    if workload.ours and not is_ours(peer.name):
        return False
    if peer.command is None and workload.loop != "open":
        return False
    if peer.only_logged and not logged:
        return False
    return not peer.only or workload.name in peer.only


def is_ours(peer: str) -> bool:
    """lb, or lb of another checkout."""
    return peer.partition("=")[0] == "lb"


def calibrations(workloads: Sequence[Workload], peers: Sequence[Peer], logged: bool) -> list[Slot]:
    """The closed-loop measurements (round 0) from which the rates of the open-loop workloads follow."""
    wanted = dict.fromkeys(
        (workload.rate_of, peer.name)
        for workload in workloads
        if workload.loop == "open"
        for peer in peers
        if takes_part(peer, workload, logged) and peer.command is not None
    )
    return [Slot(WORKLOADS[workload], peer, logged, 0) for workload, peer in wanted]


def rate_of(workload: Workload, peers: Sequence[Peer], calibrated: Sequence[dict[str, Any]]) -> float:
    """Operations per second for an open-loop workload; 0 where no proxy could be calibrated for it."""
    names = {peer.name for peer in peers if not workload.ours or is_ours(peer.name)}
    rates = [
        sample["rate"]
        for sample in calibrated
        if sample["workload"] == workload.rate_of and sample["peer"] in names and "rate" in sample
    ]
    return round(workload.rate_share * min(rates, default=0.0))


def estimate_s(plan: Sequence[Slot], calibrated: Sequence[Slot], seconds: float) -> float:
    return sum(slot.estimate_s(seconds) for slot in plan) + sum(
        slot.estimate_s(CALIBRATION_S) for slot in calibrated
    )
