"""What a run found, as it is kept: a JSON document with every sample.

base, options, facts, complete
rates      the fixed rate of each open-loop workload
samples    one per measurement; round 0 is calibration, `dropped` says why a sample is not used
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.compare import ratios
from bench.compare.ratios import Ratio, Sample

FAILURE_CHARS_MAX = 200  # of what it said last


@dataclass(frozen=True)
class Results:
    document: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Results:
        return cls(json.loads(path.read_text()))

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.document, indent=1) + "\n")

    @property
    def base(self) -> str:
        return self.document["base"]

    @property
    def samples(self) -> list[Sample]:
        return self.document["samples"]

    @property
    def logs(self) -> list[str]:
        """`on`, `off` or both, as they were measured first."""
        return list(dict.fromkeys(sample["log"] for sample in self.samples))

    def of(self, workload: str, peer: str, log: str) -> list[Sample]:
        """The samples that count: not of the calibration, not dropped, not failed."""
        return [
            sample
            for sample in self.samples
            if (sample["workload"], sample["peer"], sample["log"]) == (workload, peer, log)
            and sample["round"] > 0
            and "dropped" not in sample
            and "failed" not in sample
        ]

    def peers(self, workload: str, log: str) -> list[str]:
        """Who has samples that count, in the order they were asked for."""
        return [name for name in self.document["facts"]["versions"] if self.of(workload, name, log)]

    def ratio(self, workload: str, peer: str, log: str, key: str) -> Ratio | None:
        """base/peer."""
        return ratios.between(self.of(workload, self.base, log), self.of(workload, peer, log), key)

    def errors(self) -> list[str]:
        """A sentence for each thing that went wrong; empty when all figures stand on clean measurements."""
        return [error for sample in self.samples if (error := error_of(sample))]

    def disturbed(self) -> dict[int, list[Sample]]:
        """By round, the measurements that count and in which strangers used more than was allowed."""
        foreign_percent_max = self.document["options"]["foreign_percent_max"]
        found: dict[int, list[Sample]] = {}
        for sample in self.samples:
            if "dropped" not in sample and foreign(sample) > foreign_percent_max:
                found.setdefault(sample["round"], []).append(sample)
        return found


def error_of(sample: Sample) -> str | None:
    where = f"{sample['workload']}, {sample['peer']}, log {sample['log']}, round {sample['round']}"
    if "failed" in sample:
        first, _, said = sample["failed"].partition("\n")
        return f"{where}: {first} {' '.join(said.split())[-FAILURE_CHARS_MAX:]}".rstrip()
    if sample["errors_total"]:
        kinds = ", ".join(f"{kind} {count}" for kind, count in sample["errors"].items() if count)
        return f"{where}: {sample['errors_total']} errors ({kinds})"
    return None


def foreign(sample: Sample) -> float:
    """Percent of one CPU that strangers used, or that the hypervisor kept."""
    return sample.get("foreign_percent", 0.0) + sample.get("steal_percent", 0.0)


def foreign_max(samples: Sequence[Sample]) -> float:
    return max(map(foreign, samples), default=0.0)
