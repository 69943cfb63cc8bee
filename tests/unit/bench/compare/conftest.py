"""Results of a run, made of a few figures."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.compare.results import Results


@pytest.fixture
def results_of() -> Callable[..., Results]:
    """Results made of (workload, peer, [a figure for each round])."""

    def make(*series: tuple[str, str, list[float]], key: str = "cpu", log: str = "on") -> Results:
        samples: list[dict[str, Any]] = [
            {"workload": workload, "peer": peer, "log": log, "round": number, key: value}
            | {"errors": {}, "errors_total": 0, "proxy_busy_percent": 90.0}
            for workload, peer, values in series
            for number, value in enumerate(values, 1)
        ]
        facts = {name: "" for name in ("system", "kernel", "cpu", "python", "commit")}
        facts |= {"date": "2026-11-25T10:00:00", "cpus": 2, "uncommitted_changes": False}
        facts["versions"] = dict.fromkeys((peer for _, peer, _ in series), "1.0")
        options = {"rounds": len(series[0][2]), "seconds": 1.0, "foreign_percent_max": 10.0}
        document = {"note": "", "base": "lb", "options": options, "facts": facts, "complete": True}
        return Results(document | {"rates": {}, "samples": samples})

    return make
