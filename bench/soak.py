"""`python -m bench.soak`: the long trials, whole. CI runs the same promises scaled down (tests/e2e).

First two million connections through 1000 reloads that add and remove an endpoint, beside 9000 sessions that
rest; then the end-to-end trials at full size. What was seen goes to results/DATE-soak.json. Exit code 1 when
a promise was broken. All on loopback, bounded in count and in time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from bench import build, memory
from bench.compare import facts
from bench.peers import lb
from bench.peers.peer import Route, Setup
from bench.process import ROOT, Children, Failed, children, free_port, prepare_machine, tree, wait_accepting

RESULTS = ROOT / "bench" / "results"
LOAD_CPU, PROXY_CPU = 1, 0
IN_FLIGHT = 64
RELOAD_TIMEOUT_S = 10.0
TRIALS_TIMEOUT_S = 3600


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.soak", description=__doc__)
    parser.add_argument("--connections", type=int, default=2_000_000)
    parser.add_argument("--reloads", type=int, default=1000)
    parser.add_argument("--pace-ms", type=float, default=60, help="from one reload to the next (60)")
    parser.add_argument("--idle", type=int, default=9000, help="sessions that rest meanwhile")
    parser.add_argument("--no-trials", action="store_true", help="leave the end-to-end trials out")
    options = parser.parse_args()
    build.ensure()
    prepare_machine()
    results: dict[str, Any] = {"facts": facts.gather([lb.PEER]), "options": vars(options)}
    with tempfile.TemporaryDirectory(prefix="lb-soak-") as folder, children(Path(folder)) as started:
        try:
            results["reloads"] = reloads(started, options)
        except Failed as failed:
            results["reloads"] = {"failed": str(failed)}
    print(json.dumps(results["reloads"]), flush=True)
    if not options.no_trials:
        results["trials"] = trials()
    path = RESULTS / f"{time.strftime('%Y-%m-%d')}-soak.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    print(f"written: {path}", file=sys.stderr)
    broken = "failed" in results["reloads"] or any(results["reloads"]["errors"].values())
    return 1 if broken or results.get("trials", {}).get("exit_code") else 0


def reloads(started: Children, options: argparse.Namespace) -> dict[str, Any]:
    """Connections as fast as they go, and a reload every --pace-ms while they do."""
    folder = started.folder
    routes = [
        Route("web", free_port(), started.endpoint("reply")),
        Route("idle", free_port(), started.endpoint("echo")),
    ]
    spare = started.load("endpoint", "--mode", "reply", name="endpoint-spare").line(15.0)["port"]
    proxy = started.start("lb", lb.command(Setup(routes, folder)), PROXY_CPU)
    for route in routes:
        wait_accepting(proxy, route.port)
    config = folder / "lb.yaml"
    few = config.read_text()
    first = f'["127.0.0.1:{routes[0].endpoint_port}"]'
    texts = few.replace(first, f'["127.0.0.1:{routes[0].endpoint_port}", "127.0.0.1:{spare}"]'), few
    holder = started.load("client", *words("hold", routes[1].port, options.idle), name="idle")
    held = holder.line(60.0)["held"]
    rest = sample(proxy.pid)
    storm_words = [*words("connect", routes[0].port, IN_FLIGHT), "--seconds", "3600"]
    storm = started.load("client", *storm_words, "--operations", str(options.connections), name="storm")
    slowest_s, start_s = 0.0, time.monotonic()
    for number in range(options.reloads):
        time.sleep(max(start_s + number * options.pace_ms / 1000 - time.monotonic(), 0))
        slowest_s = max(slowest_s, reload(few, config, texts[number % 2]))
    reloads_s = time.monotonic() - start_s
    result = storm.line(3600.0)
    end = sample(proxy.pid)
    holder.tell_end()
    idle = holder.line(60.0)
    return {
        "connections": result["operations"],
        "connections_per_s": round(result["operations"] / result["seconds"]),
        "reloads": options.reloads,
        "reloads_s": round(reloads_s, 1),
        "storm_s": round(result["seconds"], 1),
        "slowest_reload_ms": round(1000 * slowest_s, 1),
        "idle_held": held,
        "errors": {kind: count for kind, count in result["errors"].items() if count}
        | {f"idle_{kind}": count for kind, count in idle["errors"].items() if count},
        "before": rest,
        "after": end,
    }


def words(mode: str, port: int, sessions: int) -> list[str]:
    return ["--mode", mode, "--port", str(port), "--sessions", str(sessions)]


def reload(first: str, config: Path, text: str) -> float:
    """Saves the text and orders a reload; returns how long that took. Raises Failed when it is refused."""
    ready = config.with_suffix(".new")
    ready.write_text(text)
    ready.rename(config)
    port = first.split('bind: "127.0.0.1:')[1].split('"')[0]
    order = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/reload", method="POST", data=b"")
    start_s = time.monotonic()
    with urllib.request.urlopen(order, timeout=RELOAD_TIMEOUT_S) as answer:
        said = json.loads(answer.read())
    if not said["ok"]:
        raise Failed(f"reload refused: {said}")
    return time.monotonic() - start_s


def sample(pid: int) -> dict[str, int]:
    """Processes, descriptors and user memory of lb as it stands."""
    pids = tree(pid)
    descriptors = sum(len(list(Path(f"/proc/{each}/fd").iterdir())) for each in pids)
    return {
        "processes": len(pids),
        "descriptors": descriptors,
        "user_bytes": memory.settled(lambda: tree(pid))["user_bytes"],
    }


def trials() -> dict[str, Any]:
    """The end-to-end tests at the size of the promises; what they print is kept."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "tests/e2e", "-q", "-s", "--timeout", "600"],
        env=os.environ | {"LB_E2E_SCALE": "full"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TRIALS_TIMEOUT_S,
        check=False,
        preexec_fn=lambda: os.sched_setaffinity(0, range(os.cpu_count() or 1)),
    )
    print(done.stdout)
    return {"exit_code": done.returncode, "output": done.stdout.splitlines()}


if __name__ == "__main__":
    sys.exit(main())
