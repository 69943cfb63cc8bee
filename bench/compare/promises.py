"""What lb promises of its costs, and whether a run bears it out (pure)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from bench.compare import ratios
from bench.compare.ratios import Ratio
from bench.compare.results import Results

COPYING = ("haproxy", "nginx", "nginx-buffered", "envoy")
SPLICING = ("haproxy-splice",)
SESSION_BYTES_MAX = 512


@dataclass(frozen=True)
class Pair:
    """lb against itself: `workload` over `other`, within each round."""

    title: str
    workload: str
    other: str
    key: str
    ratio_max: float | None = None

    def ratio(self, results: Results, peer: str, log: str) -> Ratio | None:
        ours = results.of(self.workload, peer, log)
        return ratios.between(ours, results.of(self.other, peer, log), self.key)


@dataclass(frozen=True)
class Verdict:
    """`kept` and `missed` hold over the whole interval; otherwise the run leaves it `open`."""

    promise: str
    found: str
    outcome: str


PAIRS = (
    Pair("two workers over one, CPU per connection", "workers-2", "workers-1", "cpu", 1.1),
    Pair("100 active sessions beside 9000 idle ones, p50", "active-idle", "active-alone", "p50"),
    Pair("100 active sessions beside 9000 idle ones, p99", "active-idle", "active-alone", "p99"),
    Pair("100 active sessions beside 9000 idle ones, CPU per exchange", "active-idle", "active-alone", "cpu"),
)
# workload, against whom, at most
CPU_RATIOS = (
    ("connect", COPYING, 1.0),
    ("messages-1", COPYING, 1.0),
    ("messages-64", COPYING, 1.0),
    ("messages-1000", COPYING, 1.0),
    ("bulk-1", SPLICING, 1.0),
    ("bulk-1", COPYING, 0.7),
    ("bulk-4", SPLICING, 1.0),
    ("bulk-4", COPYING, 0.7),
)


def verdicts(results: Results, log: str) -> Iterator[Verdict]:
    for workload, peers, ratio_max in CPU_RATIOS:
        if closest := closest_of(results, workload, peers, log):
            peer, ratio = closest
            yield judged(f"{workload}: CPU at most {ratio_max:g} times that of {peer}", ratio, ratio_max)
    sizes = ratios.median(results.of("idle", results.base, log), "session_bytes")
    if sizes is not None:
        outcome = "kept" if sizes <= SESSION_BYTES_MAX else "missed"
        yield Verdict(f"an idle session takes at most {SESSION_BYTES_MAX} bytes", f"{sizes:.0f}", outcome)
    for pair in PAIRS:
        ratio = pair.ratio(results, results.base, log)
        if ratio and pair.ratio_max:
            yield judged(f"{pair.title}: at most {pair.ratio_max:g}", ratio, pair.ratio_max)


def closest_of(results: Results, workload: str, peers: tuple[str, ...], log: str) -> tuple[str, Ratio] | None:
    """The best of them: the peer against whom lb looks worst."""
    found = {peer: results.ratio(workload, peer, log, "cpu") for peer in peers if peer != results.base}
    known = [(peer, ratio) for peer, ratio in found.items() if ratio]
    return max(known, key=lambda item: item[1].median, default=None)


def judged(promise: str, ratio: Ratio, ratio_max: float) -> Verdict:
    outcome = "open"
    if ratio.high <= ratio_max:
        outcome = "kept"
    elif ratio.low > ratio_max:
        outcome = "missed"
    return Verdict(promise, shown(ratio), outcome)


def shown(ratio: Ratio | None) -> str:
    """`0.93 (0.91–0.95)`; without the interval when there are too few rounds for one."""
    if ratio is None:
        return "–"
    return f"{ratio.median:.2f}" + (f" ({ratio.low:.2f}–{ratio.high:.2f})" if ratio.bounded else "")
