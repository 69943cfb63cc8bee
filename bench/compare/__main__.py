"""`python -m bench.compare` (./dev bench): runs the rounds, prints and writes the report.

A whole run goes to bench/results/DATE-compare.json, .md and .svg; one that --only or --peers narrows goes
to bench/build, which git ignores. Exit code 0 when every measurement was clean, 1 when there was an error or
a failure, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench import build, peers
from bench.compare import chart, facts, plan, readme, report
from bench.compare.results import Results
from bench.compare.run import Run, say
from bench.compare.workload import WORKLOADS, Workload, named
from bench.peers import PEERS, Peer
from bench.process import ROOT, prepare_machine

RESULTS = ROOT / "bench" / "results"
SCRATCH = ROOT / "bench" / "build"
RUNS_PER_DAY_MAX = 99
FOREIGN_PERCENT_MAX = 10.0  # above, a measurement is marked
LOGS = {"on": [True], "off": [False], "both": [True, False]}


def main() -> int:
    options = parse()
    if options.page:
        return write_page(Results.read(options.page), options.page.with_suffix(""), options)
    workloads, chosen = chosen_workloads(options.only), chosen_peers(options.peers)
    logs = LOGS[options.log]
    slots = list(plan.slots(workloads, chosen, logs, options.rounds))
    if not slots:
        raise SystemExit("bench: nothing to measure")
    calibrations = plan.calibrations(workloads, chosen, logs[0])
    seconds = plan.estimate_s(slots, calibrations, options.seconds)
    say(f"{len(calibrations) + len(slots)} measurements, about {seconds / 60:.0f} minutes")
    build.ensure()
    prepare_machine()
    results = new_results(options, chosen)
    stem = options.out or default_stem(options)
    stem.parent.mkdir(parents=True, exist_ok=True)
    run = Run(results, stem.with_name(stem.name + ".json"), chosen, options.quiet_max)
    try:
        run.calibrate(calibrations, workloads)
        run.go(slots, options.seconds)
        results.document["complete"] = True
    except KeyboardInterrupt:
        say("bench: cut short; what was measured is written")
    results.write(run.path)
    return write_page(results, stem, options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10, help="how often each is measured (10)")
    parser.add_argument("--seconds", type=float, default=2.5, help="measured window of one measurement (2.5)")
    parser.add_argument("--log", choices=LOGS, default="on", help="the access log of all (on)")
    parser.add_argument(
        "--only", metavar="WORKLOADS", help=f"comma-separated; a first part names all: {','.join(WORKLOADS)}"
    )
    parser.add_argument(
        "--peers", help=f"comma-separated: {','.join(PEERS)}, or lb=CHECKOUT for another build of lb"
    )
    parser.add_argument(
        "--quiet-max",
        type=float,
        metavar="PERCENT",
        help="repeat a measurement while others used more of a CPU than this",
    )
    parser.add_argument("--note", default="", help="a sentence that stands above the tables")
    parser.add_argument("--out", type=Path, help="path without suffix (bench/results/DATE-compare)")
    parser.add_argument(
        "--page", type=Path, metavar="JSON", help="measure nothing: write the page of an earlier run"
    )
    parser.add_argument("--readme", action="store_true", help="put table and chart into the README too")
    options = parser.parse_args()
    if options.readme and not is_whole(options):
        parser.error("--readme wants a whole run, without --only and --peers")
    return options


def chosen_workloads(wish: str | None) -> list[Workload]:
    if wish is None:
        return list(WORKLOADS.values())
    found = {name: named(name) for name in wish.split(",")}
    refuse([name for name, workloads in found.items() if not workloads], "workload", list(WORKLOADS))
    names = {workload.name for workloads in found.values() for workload in workloads}
    return [workload for name, workload in WORKLOADS.items() if name in names]


def chosen_peers(wish: str | None) -> list[Peer]:
    """Those that are installed; one that was asked for and is not is an error."""
    found = {name: peers.find(name) for name in (wish.split(",") if wish else PEERS)}
    refuse([name for name, peer in found.items() if peer is None], "peer", list(PEERS))
    chosen = [peer for peer in found.values() if peer]
    missing = [peer.name for peer in chosen if peer.version() is None]
    if missing and wish:
        raise SystemExit(f"bench: not installed: {', '.join(missing)}")
    for name in missing:
        say(f"bench: {name} is not installed and is left out")
    return [peer for peer in chosen if peer.name not in missing]


def refuse(unknown: list[str], kind: str, known: list[str]) -> None:
    if unknown:
        say(f"bench: no {kind} {', '.join(unknown)}; there are: {', '.join(known)}")
        raise SystemExit(2)


def new_results(options: argparse.Namespace, chosen: list[Peer]) -> Results:
    """`base`, whose ratio to the others is shown, is the first lb."""
    base = next((peer.name for peer in chosen if plan.is_ours(peer.name)), chosen[0].name)
    kept = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "foreign_percent_max": options.quiet_max or FOREIGN_PERCENT_MAX,
    }
    return Results(
        {
            "note": options.note,
            "base": base,
            "options": kept,
            "facts": facts.gather(chosen),
            "complete": False,
            "rates": {},
            "samples": [],
        }
    )


def is_whole(options: argparse.Namespace) -> bool:
    return not (options.only or options.peers)


def default_stem(options: argparse.Namespace) -> Path:
    """A whole run takes the place of no other, and what is not whole goes where it is not kept."""
    name = f"{time.strftime('%Y-%m-%d')}-compare"
    if not is_whole(options):
        return SCRATCH / name
    names = (name, *(f"{name}-{number}" for number in range(2, RUNS_PER_DAY_MAX + 1)))
    return next(RESULTS / each for each in names if not (RESULTS / f"{each}.json").exists())


def write_page(results: Results, stem: Path, options: argparse.Namespace) -> int:
    picture = chart.svg(results)
    chart_path = stem.with_name(stem.name + ".svg")
    if picture:
        chart_path.write_text(picture)
    page = report.markdown(results, chart_path.name if picture else None)
    stem.with_name(stem.name + ".md").write_text(page)
    if options.readme:
        readme.update(ROOT / "README.md", results, stem)
    print(page)
    say(f"written: {stem}.json, .md, .svg")
    return 1 if results.errors() or not results.document["complete"] else 0


if __name__ == "__main__":
    sys.exit(main())
