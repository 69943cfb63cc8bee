"""`python -m bench.compare`: runs the rounds, prints and writes the report.

Exit code 0 when every measurement was clean, 1 when there was an error or a failure, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from bench import build
from bench.compare import facts, report
from bench.compare.scenario import SCENARIOS, Scenario, measure
from bench.peers import PEERS
from bench.process import ROOT, prepare_machine

RESULTS = ROOT / "bench" / "results"
TRIES_MAX = 2  # a measurement that failed altogether is repeated once; both are kept in the data


def main() -> int:
    options = parse()
    peers = chosen(options.peers, list(PEERS), "peer")
    scenarios = [SCENARIOS[name] for name in chosen(options.scenario, list(SCENARIOS), "scenario")]
    missing = [name for name in peers if PEERS[name].version() is None]
    if missing and options.peers:
        raise SystemExit(f"bench: not installed: {', '.join(missing)}")
    for name in missing:
        print(f"bench: {name} is not installed and is left out", file=sys.stderr)
    peers = [name for name in peers if name not in missing]
    if not peers:
        raise SystemExit("bench: nothing to measure")
    build.ensure()
    prepare_machine()
    results: dict[str, Any] = {
        "note": options.note,
        "base": options.base or ("lb" if "lb" in peers else peers[0]),
        "options": {"rounds": options.rounds, "seconds": options.seconds},
        "facts": facts.gather(peers),
        "complete": False,
        "samples": [],
    }
    stem = options.out or RESULTS / f"{time.strftime('%Y-%m-%d')}-compare"
    try:
        run(results, scenarios, peers)
        results["complete"] = True
    except KeyboardInterrupt:
        print("bench: cut short; what was measured is written", file=sys.stderr)
    write(results, stem)
    print(report.markdown(results))
    print(f"written: {stem}.json, {stem}.md", file=sys.stderr)
    return 1 if report.errors_of(results["samples"]) or not results["complete"] else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    parser.add_argument("--rounds", type=int, default=6, help="every other one backwards; even is fair (6)")
    parser.add_argument("--seconds", type=float, default=5.0, help="measured window of one measurement (5)")
    parser.add_argument("--scenario", help=f"comma-separated, of: {','.join(SCENARIOS)}")
    parser.add_argument("--peers", help=f"comma-separated, of: {','.join(PEERS)}")
    parser.add_argument("--base", help="whose ratio to the others is shown (lb, else the first peer)")
    parser.add_argument("--note", default="", help="a sentence that stands above the table")
    parser.add_argument("--out", type=Path, help="path without suffix (bench/results/DATE-compare)")
    return parser.parse_args()


def chosen(wish: str | None, known: list[str], kind: str) -> list[str]:
    names = wish.split(",") if wish else known
    for name in names:
        if name not in known:
            print(f"bench: no {kind} {name!r}; there are: {', '.join(known)}", file=sys.stderr)
            raise SystemExit(2)
    return names


def run(results: dict[str, Any], scenarios: list[Scenario], peers: list[str]) -> None:
    rounds, seconds = results["options"]["rounds"], results["options"]["seconds"]
    for number in range(1, rounds + 1):
        order = peers if number % 2 else peers[::-1]
        for scenario in scenarios:
            for name in order:
                if not takes_part(name, scenario.name):
                    continue
                for _ in range(TRIES_MAX):
                    sample = measure(scenario, PEERS[name], seconds) | {"round": number}
                    results["samples"].append(sample)
                    print(f"{number}/{rounds} {scenario.name:14} {name:15} {brief(sample)}", file=sys.stderr)
                    if "failed" not in sample:
                        break


def takes_part(name: str, scenario: str) -> bool:
    peer = PEERS[name]
    if peer.command is None and scenario == "idle":
        return False
    return not peer.only or scenario in peer.only


def brief(sample: dict[str, Any]) -> str:
    """One line while it runs."""
    if "failed" in sample:
        return "FAILED: " + sample["failed"].splitlines()[0]
    keys = ("cpu", "rate", "p50", "p99", "session_bytes", "rest_mb", "foreign_percent")
    shown = " ".join(f"{key} {sample[key]:.6g}" for key in keys if key in sample)
    return f"{shown} errors {sample['errors_total']}"


def write(results: dict[str, Any], stem: Path) -> None:
    stem.parent.mkdir(parents=True, exist_ok=True)
    stem.with_name(stem.name + ".json").write_text(json.dumps(results, indent=1) + "\n")
    stem.with_name(stem.name + ".md").write_text(report.markdown(results))


if __name__ == "__main__":
    sys.exit(main())
