"""Ratios between two entries of a run, and how sure they are (pure).

A ratio is taken inside a round, between two measurements a few seconds apart, and only then its median over
the rounds: so a drift of the machine, which falls on both, cancels out. The interval is the bootstrap's: the
rounds are drawn again with replacement RESAMPLES times, and the middle 95 % of the medians kept (Efron 1979,
the percentile method).
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Sample = dict[str, Any]
RESAMPLES = 2000
CONFIDENCE = 0.95
ROUNDS_MIN = 3  # below, an interval would only look like one


@dataclass(frozen=True)
class Ratio:
    """The median of the per-round ratios; `low` and `high` are equal to it when there are too few rounds."""

    median: float
    low: float
    high: float
    rounds: int

    @property
    def bounded(self) -> bool:
        return self.rounds >= ROUNDS_MIN


def between(ours: Sequence[Sample], theirs: Sequence[Sample], key: str) -> Ratio | None:
    """ours/theirs of `key`; None when no round has both."""
    found = per_round(ours, theirs, key)
    if not found:
        return None
    low, high = interval(found)
    return Ratio(statistics.median(found), low, high, len(found))


def per_round(ours: Sequence[Sample], theirs: Sequence[Sample], key: str) -> list[float]:
    of_round = {sample["round"]: sample[key] for sample in theirs if sample.get(key)}
    return [
        sample[key] / of_round[sample["round"]]
        for sample in ours
        if sample.get(key) is not None and sample["round"] in of_round
    ]


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The bootstrap interval of their median. The draws are the same each time: a page can be made again."""
    if len(values) < ROUNDS_MIN:
        return (statistics.median(values),) * 2
    draw = random.Random(len(values))
    medians = sorted(statistics.median(draw.choices(values, k=len(values))) for _ in range(RESAMPLES))
    cut = round(RESAMPLES * (1 - CONFIDENCE) / 2)
    return medians[cut], medians[-cut - 1]


def median(samples: Sequence[Sample], key: str) -> float | None:
    values = [sample[key] for sample in samples if sample.get(key) is not None]
    return statistics.median(values) if values else None
