"""The picture of a run: what each peer's CPU is, as a multiple of lb's (pure).

A plain SVG of bars, one per peer and workload, with a whisker for the 95 % interval and a line at 1, where lb
is. The colours hold on light and dark paper; the text follows the reader's scheme.
"""

from __future__ import annotations

from dataclasses import dataclass
from xml.sax.saxutils import escape

from bench.compare import ratios
from bench.compare.ratios import Ratio
from bench.compare.results import Results
from bench.compare.workload import WORKLOADS, Workload

COLOURS = {
    "haproxy": "#3b82c4",
    "haproxy-splice": "#7cb0dd",
    "nginx": "#2f9e62",
    "nginx-buffered": "#7cc79d",
    "envoy": "#b565c9",
    "floor": "#8b949e",
}
OTHER_COLOUR = "#d08a2e"
WIDTH, LEFT, RIGHT = 820, 120, 60
BAR, GAP, TITLE, HEAD, FOOT = 13, 3, 24, 46, 10
TIMES_MAX = 4.0  # a longer bar is cut, and its figure says so
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #24292f; }
.small { font-size: 11px; fill: #57606a; }
.grid { stroke: #8b949e; opacity: 0.3; }
.whisker { stroke: #24292f; }
.one { stroke: #cf222e; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .small { fill: #9da7b1; }
  .whisker { stroke: #e6edf3; }
  .one { stroke: #ff7b72; }
}
"""


@dataclass(frozen=True)
class Bar:
    """peer/lb, with its interval."""

    peer: str
    times: float
    low: float
    high: float
    bounded: bool


def bars_of(results: Results, workload: str, log: str) -> list[Bar]:
    found = []
    for peer in results.peers(workload, log):
        ratio = results.ratio(workload, peer, log, "cpu")
        if ratio and peer != results.base:
            found.append(bar(peer, ratio))
    return found


def bar(peer: str, ours_over_theirs: Ratio) -> Bar:
    ratio = ours_over_theirs
    return Bar(peer, 1 / ratio.median, 1 / ratio.high, 1 / ratio.low, ratio.bounded)


def svg(results: Results) -> str | None:
    """The first log setting of the run; None when it has nothing to draw."""
    log = results.logs[0] if results.logs else ""
    y, drawn = HEAD, []
    for workload in WORKLOADS.values():
        bars = bars_of(results, workload.name, log)
        if workload.loop != "closed" or not bars:
            continue
        drawn += group(title_of(results, workload, log), bars, y)
        y += TITLE + len(bars) * (BAR + GAP)
    if not drawn:
        return None
    head = f"CPU time, in multiples of {results.base}'s (the line at 1); access log {log}"
    drawn = [*axis(y), text(LEFT, 16, head), *drawn]
    size = f'viewBox="0 0 {WIDTH} {y + FOOT}" width="{WIDTH}" height="{y + FOOT}"'
    start = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-label="{escape(head)}">'
    return "\n".join([start, f"<style>{STYLE}</style>", *drawn, "</svg>"]) + "\n"


def title_of(results: Results, workload: Workload, log: str) -> str:
    """With what lb needs, so that multiples become figures."""
    ours = ratios.median(results.of(workload.name, results.base, log), "cpu")
    unit = f"{ours:.2f} s per GB" if workload.unit == "GB" else f"{ours:.1f} µs"
    return f"{workload.title} ({results.base}: {unit})"


def group(title: str, bars: list[Bar], y: int) -> list[str]:
    parts = [text(LEFT, y + TITLE - 5, title)]
    y += TITLE
    for number, each in enumerate(bars):
        parts += draw(each, y + number * (BAR + GAP))
    bottom = y + len(bars) * (BAR + GAP) - GAP
    return [*parts, f'<path class="one" d="M{x_of(1)} {y}V{bottom}"/>']


def draw(each: Bar, y: int) -> list[str]:
    colour = COLOURS.get(each.peer, OTHER_COLOUR)
    end, middle = x_of(each.times), y + BAR / 2
    parts = [
        text(LEFT - 8, y + BAR - 3, each.peer, anchor="end", small=True),
        f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" rx="2" fill="{colour}"/>',
    ]
    if each.bounded:
        low, high = x_of(each.low), x_of(each.high)
        whisker = f"M{low} {middle}H{high}M{low} {middle - 3}v6M{high} {middle - 3}v6"
        parts.append(f'<path class="whisker" d="{whisker}"/>')
        end = max(end, high)
    return [*parts, text(max(end, x_of(1)) + 6, y + BAR - 3, f"{each.times:.2f}", small=True)]


def axis(bottom: int) -> list[str]:
    parts = []
    for times in range(int(TIMES_MAX) + 1):
        parts.append(f'<path class="grid" d="M{x_of(times)} {HEAD - 6}V{bottom}"/>')
        parts.append(text(x_of(times), HEAD - 10, str(times), anchor="middle", small=True))
    return parts


def x_of(times: float) -> float:
    return round(LEFT + min(times, TIMES_MAX) / TIMES_MAX * (WIDTH - LEFT - RIGHT), 1)


def text(x: float, y: float, words: str, *, anchor: str = "start", small: bool = False) -> str:
    kind = ' class="small"' if small else ""
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}"{kind}>{escape(words)}</text>'
