"""`python -m bench.faults`: what proves the data path right, whole. CI runs the same, scaled down.

All of it on an extension with the address and undefined-behaviour sanitizers and the debug checks: the tests
of the data path with their fuzzers, every system call that fails in every way and everywhere, and the state
machine. What was counted goes to results/DATE-faults.json, beside what another run of the day found of the
other parts. Exit code 1 when anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from bench.compare import facts
from bench.soak import RESULTS
from tests.support import sanitized

TIMEOUT_S = 4 * 3600
FUZZ_CASES = "300000"  # of each fuzzer
AT_A_TIME = 2  # parts; each is one process, mostly
PARTS = {
    "data_path": "tests/datapath",
    "failing_calls": "tests/faults/test_nth_failure.py",
    "state_machine": "tests/property",
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.faults", description=__doc__)
    parser.add_argument("--only", choices=PARTS, action="append", help="these parts (all)")
    chosen = parser.parse_args().only or list(PARTS)
    sanitized.build()
    path = RESULTS / f"{time.strftime('%Y-%m-%d')}-faults.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    here = facts.gather([])
    os.environ |= {"LB_E2E_SCALE": "full", "LB_FUZZ": FUZZ_CASES}
    with ThreadPoolExecutor(AT_A_TIME) as pool:
        running = {pool.submit(part, PARTS[name]): name for name in chosen}
        for done in as_completed(running):
            name = running[done]
            results[name] = done.result() | {"facts": here}
            print(f"{name}: {json.dumps(results[name])}", flush=True)
            path.write_text(json.dumps(results, indent=1) + "\n")
    return int(any(results[name]["exit_code"] for name in chosen))


def part(tests: str) -> dict[str, Any]:
    """Runs it at full size. `said`: the counts that tests print; `output`: all, where something was found."""
    start_s = time.monotonic()
    done = sanitized.run(
        ["-q", "-s", "--timeout", str(TIMEOUT_S), tests],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=TIMEOUT_S,
    )
    lines = done.stdout.splitlines()
    found = {
        "exit_code": done.returncode,
        "seconds": round(time.monotonic() - start_s),
        "outcome": next(
            (line for line in reversed(lines) if re.search(r"\d+ (passed|failed|error)", line)), ""
        ),
        "said": [line.lstrip(".") for line in lines if re.match(r'\.*(\d+ cases|\{["\'])', line)],
    }
    return found | ({"output": lines} if done.returncode else {})


if __name__ == "__main__":
    sys.exit(main())
