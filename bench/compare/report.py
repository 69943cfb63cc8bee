"""From results to a page in Markdown (pure)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare import promises, ratios
from bench.compare.promises import PAIRS, shown
from bench.compare.results import Results, Sample, foreign_max
from bench.compare.workload import WORKLOADS, Workload


@dataclass(frozen=True)
class Column:
    """A figure of a sample: its key, heading and form; with `ratio` the base's ratio to it stands beside."""

    key: str
    heading: str
    form: str = "{:.0f}"
    ratio: bool = False


CLOSED = (Column("cpu", "CPU µs/{unit}", "{:.1f}", ratio=True), Column("rate", "{unit}s/s", ratio=True))
BULK = (
    Column("cpu", "CPU s/GB", "{:.3f}", ratio=True),
    Column("busy_cpu", "CPU 0 busy s/GB", "{:.3f}", ratio=True),
    Column("rate", "Gb/s", "{:.1f}", ratio=True),
)
OPEN = (
    Column("p50", "p50 µs", ratio=True),
    Column("p90", "p90 µs"),
    Column("p99", "p99 µs", ratio=True),
    Column("p999", "p99.9 µs", ratio=True),
    Column("late_p99", "begun late, p99 µs"),
    Column("cpu", "CPU µs/{unit}", "{:.1f}", ratio=True),
)
HELD = (
    Column("session_bytes", "bytes per idle session", ratio=True),
    Column("rest_mb", "MB at rest", "{:.1f}", ratio=True),
)


def columns_of(workload: Workload) -> tuple[Column, ...]:
    if workload.unit == "GB":
        return BULK
    return {"closed": CLOSED, "open": OPEN, "held": HELD}[workload.loop]


def markdown(results: Results, chart: str | None = None) -> str:
    """The whole page; `chart` is the file name of the picture."""
    document = results.document
    parts = [f"# Comparison of {document['facts']['date'][:10]}", ""]
    if document["note"]:
        parts += [f"**{document['note']}**", ""]
    parts += [preface(results), ""]
    if chart:
        parts += [f"![CPU of each peer beside lb's]({chart})", ""]
    for log in results.logs:
        parts += section(results, log)
    errors = results.errors()
    parts += ["## Errors", "", *([f"- {error}" for error in errors] or ["None."])]
    return "\n".join(parts) + "\n"


def preface(results: Results) -> str:
    facts, options = results.document["facts"], results.document["options"]
    versions = "; ".join(f"{name}: {version}" for name, version in facts["versions"].items())
    changed = " with changes that are not committed" if facts["uncommitted_changes"] else ""
    commit = (facts["commit"] or "none yet")[:12] + changed
    cut = "" if results.document["complete"] else " The run was cut short."
    return (
        f"{facts['system']}, Linux {facts['kernel']}, {facts['cpus']} CPUs ({facts['cpu']}), "
        f"Python {facts['python']}, commit {commit}. {options['rounds']} rounds of {options['seconds']:g} s, "
        f"the peers in another order each round; what relays alone on CPU 0, all else on CPU 1.{cut}\n\n"
        f"{versions}.\n\n"
        f"Figures are medians over the rounds. `{results.base}/x` is the median of the ratios taken inside "
        f"each round, in brackets its bootstrap 95 % interval. Foreign: CPU time of strangers, in percent of "
        f"one CPU, the most of any round.\n\n{disturbance(results)}"
    )


def disturbance(results: Results) -> str:
    """Which rounds were disturbed, and how much."""
    limit = results.document["options"]["foreign_percent_max"]
    again = sum("dropped" in sample for sample in results.samples)
    rounds = [
        f"round {number}: {len(samples)}, up to {foreign_max(samples):.0f} %"
        for number, samples in sorted(results.disturbed().items())
    ]
    said = "; ".join(rounds) or "none"
    return f"Measurements in which strangers used more than {limit:g} %: {said}. Made again: {again}."


def section(results: Results, log: str) -> list[str]:
    parts = [f"## Access log {log}", ""]
    if verdicts := list(promises.verdicts(results, log)):
        rows = [[verdict.promise, verdict.found, verdict.outcome] for verdict in verdicts]
        parts += ["### Promises", "", *table(["promise", "found", "outcome"], rows), ""]
    for workload in WORKLOADS.values():
        if not workload.ours and results.peers(workload.name, log):
            parts += [f"### {heading(results, workload, log)}", "", *peers_table(results, workload, log), ""]
    if rows := pair_rows(results, log):
        headings = ["lb against itself", "with", "without", "ratio"]
        parts += ["### Two workers; beside idle sessions", "", *table(headings, rows), ""]
    return parts


def heading(results: Results, workload: Workload, log: str) -> str:
    rate = results.document["rates"].get(workload.name)
    return f"{workload.title} ({rate:.0f} per second)" if rate else workload.title


def peers_table(results: Results, workload: Workload, log: str) -> list[str]:
    columns = columns_of(workload)
    headings = ["peer"]
    for column in columns:
        headings += [column.heading.format(unit=workload.unit)]
        headings += [f"{results.base}/x"] if column.ratio else []
    headings += ["proxy busy", "foreign", "errors"]
    peers = results.peers(workload.name, log)
    own = {peer: results.of(workload.name, peer, log) for peer in peers}
    peers.sort(key=lambda peer: ratios.median(own[peer], columns[0].key) or 0.0)
    rows = []
    for peer in peers:
        row = [peer]
        for column in columns:
            row.append(figure(own[peer], column))
            if column.ratio:
                row.append(
                    shown(results.ratio(workload.name, peer, log, column.key))
                    if peer != results.base
                    else "1"
                )
        busy = ratios.median(own[peer], "proxy_busy_percent")
        row += [f"{busy:.0f} %" if busy else "–", f"{foreign_max(own[peer]):.0f} %"]
        rows.append([*row, str(sum(sample["errors_total"] for sample in own[peer]))])
    return table(headings, rows)


def pair_rows(results: Results, log: str) -> list[list[str]]:
    """One row for each pair and each lb that was measured."""
    rows = []
    for pair in PAIRS:
        for peer in results.peers(pair.workload, log):
            if ratio := pair.ratio(results, peer, log):
                column = Column(pair.key, "", "{:.1f}")
                with_it, without = (
                    figure(results.of(name, peer, log), column) for name in (pair.workload, pair.other)
                )
                title = pair.title if peer == results.base else f"{pair.title}; {peer}"
                rows.append([title, f"{with_it} µs", f"{without} µs", shown(ratio)])
    return rows


def figure(samples: Sequence[Sample], column: Column) -> str:
    value = ratios.median(samples, column.key)
    return "–" if value is None else column.form.format(value)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)], *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
