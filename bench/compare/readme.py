"""The README's figures, written from a run between two marks, so that none is copied by hand."""

from __future__ import annotations

import os
import re
from pathlib import Path

from bench.compare import ratios
from bench.compare.promises import PAIRS, shown
from bench.compare.report import table
from bench.compare.results import Results

BEGIN = "<!-- written by ./dev bench --readme -->"
END = "<!-- until here -->"
# A column may have two entries; the second's figure stands in front, with its name.
COLUMNS = {
    "lb": ("lb",),
    "HAProxy": ("haproxy", "haproxy-splice"),
    "nginx": ("nginx", "nginx-buffered"),
    "Envoy": ("envoy",),
}
# workload, figure, title, form
ROWS = (
    ("connect", "cpu", "CPU per connection (connect, exchange, close), µs", "{:.1f}"),
    ("messages-1", "cpu", "CPU per 64-byte exchange, 1 session, µs", "{:.1f}"),
    ("messages-64", "cpu", "CPU per 64-byte exchange, 64 sessions, µs", "{:.1f}"),
    ("messages-1000", "cpu", "CPU per 64-byte exchange, 1000 sessions, µs", "{:.1f}"),
    ("bulk-1", "cpu", "CPU per GB, 1 stream, s", "{:.2f}"),
    ("bulk-4", "cpu", "CPU per GB, 4 streams, s", "{:.2f}"),
    ("latency-connect", "p50", "connection at a fixed rate, p50, µs", "{:.0f}"),
    ("latency-connect", "p99", "the same, p99, µs", "{:.0f}"),
    ("latency-messages", "p50", "exchange at a fixed rate, 64 sessions, p50, µs", "{:.0f}"),
    ("latency-messages", "p99", "the same, p99, µs", "{:.0f}"),
    ("idle", "session_bytes", "user memory per idle session, bytes", "{:.0f}"),
    ("idle", "rest_mb", "user memory at rest, MB", "{:.1f}"),
)


def update(path: Path, results: Results, stem: Path) -> None:
    """Raises SystemExit where the marks are missing."""
    before, begin, rest = path.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise SystemExit(f"bench: {path} lacks the lines {BEGIN} and {END}")
    relative = os.path.relpath(stem.resolve(), path.resolve().parent)
    path.write_text(f"{before}{BEGIN}\n{block(results, relative)}\n{END}{after}")


def block(results: Results, stem: str) -> str:
    """Table, chart, and where the rest stands; `stem` is the path of the results without suffix."""
    log = results.logs[0]
    rows = [row for entry in ROWS if (row := row_of(results, *entry, log))]
    for other in results.logs[1:]:
        if row := row_of(results, *ROWS[0], other):
            rows.insert(1, [f"the same, access log {other}", *row[1:]])
    pairs = [(pair.title, pair.ratio(results, results.base, log)) for pair in PAIRS]
    facts = results.document["facts"]
    sentence = (
        f"Medians of {results.document['options']['rounds']} interleaved rounds, {facts['date'][:10]}, "
        f"access log {log} for all:"
    )
    versions = {peer: re.search(r"\d+\.\d+", said) for peer, said in facts["versions"].items()}
    headings = [
        f"{name} {found[0]}" if (found := versions.get(peers[0])) and name != "lb" else name
        for name, peers in COLUMNS.items()
    ]
    lines = [sentence, "", *table(["", *headings], rows), ""]
    lines += [f"- {title}: {shown(ratio)} times" for title, ratio in pairs if ratio]
    lines += ["", f"![CPU of each peer beside lb's]({stem}.svg)", "", f"All figures: [{stem}.md]({stem}.md)."]
    return "\n".join(lines)


def row_of(results: Results, workload: str, key: str, title: str, form: str, log: str) -> list[str] | None:
    """The least is bold. None when nobody was measured."""
    values = {
        peer: ratios.median(results.of(workload, peer, log), key)
        for peers in COLUMNS.values()
        for peer in peers
    }
    known = [value for value in values.values() if value is not None]
    if not known:
        return None
    row = [title]
    for peers in COLUMNS.values():
        cells = []
        for peer in reversed(peers):
            value = values[peer]
            if value is not None:
                cell = form.format(value) if value > min(known) else f"**{form.format(value)}**"
                cells.append(f"{cell} ({peer.partition('-')[2]})" if "-" in peer else cell)
        row.append(", ".join(cells) or "–")
    return row
