"""From samples to a page: medians per peer, and the median of the per-round ratios base/peer.

A ratio is taken inside a round, between two measurements a minute apart at most, and only then its median
over the rounds: so a slow drift of the machine cancels out. Below 1 the base is cheaper (CPU, latency,
memory) or slower (rate).
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

from bench.compare.scenario import SCENARIOS, Scenario

Sample = dict[str, Any]
FAILURE_CHARS_MAX = 400


@dataclass(frozen=True)
class Column:
    """A figure of a sample: its key, its heading, how it is printed, and whether its spread is shown."""

    key: str
    heading: str
    form: str
    spread: bool = False


OPERATIONS = (
    Column("cpu", "CPU µs/{unit}", "{:.1f}", spread=True),
    Column("rate", "{unit}s/s", "{:.0f}"),
    Column("p50", "p50 µs", "{:.0f}"),
    Column("p99", "p99 µs", "{:.0f}"),
)
BULK = (Column("cpu", "CPU s/GB", "{:.3f}", spread=True), Column("rate", "Gb/s", "{:.2f}"))
IDLE = (
    Column("session_bytes", "bytes/idle session", "{:.0f}", spread=True),
    Column("rest_mb", "at rest, MB", "{:.1f}"),
)


def columns_of(scenario: Scenario) -> tuple[Column, ...]:
    return {"GB": BULK, "session": IDLE}.get(scenario.unit, OPERATIONS)


def errors_of(samples: list[Sample]) -> list[str]:
    """A sentence for each thing that went wrong; empty when all figures stand on clean runs."""
    found = []
    for sample in samples:
        where = f"{sample['scenario']}, {sample['peer']}, round {sample['round']}"
        if "failed" in sample:
            found.append(f"{where}: {' '.join(sample['failed'].split())[:FAILURE_CHARS_MAX]}")
        elif sample["errors_total"]:
            kinds = ", ".join(f"{kind} {count}" for kind, count in sample["errors"].items() if count)
            found.append(f"{where}: {sample['errors_total']} errors ({kinds})")
    return found


def median(samples: list[Sample], key: str) -> float | None:
    values = [sample[key] for sample in samples if key in sample]
    return statistics.median(values) if values else None


def ratios(base: list[Sample], other: list[Sample], key: str) -> list[float]:
    """base/other of each round in which both have the figure."""
    of_round = {sample["round"]: sample[key] for sample in other if sample.get(key)}
    return [s[key] / of_round[s["round"]] for s in base if key in s and s["round"] in of_round]


def markdown(results: dict[str, Any]) -> str:
    """The whole page."""
    facts, samples, base = results["facts"], results["samples"], results["base"]
    parts = [f"# Comparison of {facts['date'][:10]}", ""]
    if results["note"]:
        parts += [f"**{results['note']}**", ""]
    parts += [preface(results), ""]
    for name, scenario in SCENARIOS.items():
        of_scenario = [sample for sample in samples if sample["scenario"] == name]
        if of_scenario:
            parts += [f"## {scenario.title}", "", table(scenario, of_scenario, base), ""]
    errors = errors_of(samples)
    parts += ["## Errors", ""]
    parts += [f"- {error}" for error in errors] or ["None."]
    return "\n".join(parts) + "\n"


def preface(results: dict[str, Any]) -> str:
    facts, options = results["facts"], results["options"]
    versions = "; ".join(f"{name}: {version}" for name, version in facts["versions"].items())
    commit = (facts["commit"] or "none yet")[:12] + (" + changes" if facts["uncommitted_changes"] else "")
    whole = "" if results["complete"] else " The run was cut short."
    return (
        f"{facts['system']}, Linux {facts['kernel']}, {facts['cpus']} CPUs ({facts['cpu']}), "
        f"Python {facts['python']}, commit {commit}. {options['rounds']} rounds of {options['seconds']:g} s, "
        f"interleaved and reversed every other round; the proxy alone on one CPU.{whole}\n\n"
        f"{versions}.\n\n"
        f"Medians over the rounds; `{results['base']}/x` is the median of the per-round ratios (in brackets: "
        f"least to greatest). Busy: how much of its CPU the proxy used, and the load of its own; `foreign`: "
        f"what else ran on the proxy's CPU, and steal (greatest of the rounds)."
    )


def table(scenario: Scenario, samples: list[Sample], base: str) -> str:
    columns = columns_of(scenario)
    by_peer: dict[str, list[Sample]] = {}
    for sample in samples:
        by_peer.setdefault(sample["peer"], []).append(sample)
    headings = ["peer"]
    for column in columns:
        headings += [column.heading.format(unit=scenario.unit), f"{base}/x"]
    headings += ["proxy busy", "load busy", "foreign", "errors"]
    rows = [headings, ["---", *["---:"] * (len(headings) - 1)]]
    for peer, own in sorted(by_peer.items(), key=lambda item: median(item[1], columns[0].key) or 1e12):
        row = [peer]
        for column in columns:
            row += [figure(own, column), ratio(by_peer.get(base, []), own, column)]
        percents = [percent(own, "proxy_busy_percent"), percent(own, "load_busy_percent"), noise(own)]
        rows.append([*row, *percents, str(sum(s.get("errors_total", 0) for s in own))])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def figure(samples: list[Sample], column: Column) -> str:
    value = median(samples, column.key)
    return "–" if value is None else column.form.format(value)


def ratio(base: list[Sample], samples: list[Sample], column: Column) -> str:
    found = ratios(base, samples, column.key)
    if not found:
        return "–"
    middle = f"{statistics.median(found):.2f}"
    if not column.spread or len(found) < 2 or base is samples:
        return middle
    return f"{middle} ({min(found):.2f}–{max(found):.2f})"


def percent(samples: list[Sample], key: str) -> str:
    value = median(samples, key)
    return f"{value:.0f} %" if value else "–"


def noise(samples: list[Sample]) -> str:
    values = [s["foreign_percent"] + s["steal_percent"] for s in samples if "foreign_percent" in s]
    return f"{max(values):.0f} %" if values else "–"
