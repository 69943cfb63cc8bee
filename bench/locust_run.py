"""`python -m bench.locust_run`: endpoints, lb before them, and locust, headless, for a while.

Prints locust's summary and returns its exit code: 0 only when nothing failed. Two listeners, one user class
each: TCP to an echo, HTTP to a small page. Whatever --peer names can stand in lb's place.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench import build, proxy
from bench.peers import PEERS
from bench.process import LOAD_CPU, ROOT, Children, Failed, children, prepare_machine

GRACE_S = 30.0  # locust's start and end


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.locust_run", description=__doc__)
    parser.add_argument("--peer", choices=["lb", "haproxy", "nginx", "envoy"], default="lb")
    parser.add_argument("--users", type=int, default=60)
    parser.add_argument("--spawn-rate", type=int, default=30, help="users started per second")
    parser.add_argument("--seconds", type=int, default=20)
    options = parser.parse_args()
    build.ensure()
    prepare_machine()
    try:
        with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder, children(Path(folder)) as started:
            return run(started, options)
    except Failed as failed:
        raise SystemExit(f"bench: {failed}") from failed


def run(started: Children, options: argparse.Namespace) -> int:
    endpoints = [started.endpoint("echo"), started.endpoint("http")]
    tcp, http = proxy.start(started, PEERS[options.peer], endpoints).ports
    words = [sys.executable, "-m", "locust", "-f", str(ROOT / "bench" / "locustfile.py"), "--headless"]
    words += ["--only-summary", "--users", str(options.users), "--spawn-rate", str(options.spawn_rate)]
    words += ["--run-time", f"{options.seconds}s", "--loglevel", "WARNING", "--exit-code-on-error", "1"]
    addresses = {"LB_BENCH_TCP": f"127.0.0.1:{tcp}", "LB_BENCH_HTTP": f"http://127.0.0.1:{http}"}
    print(f"{options.peer}: tcp 127.0.0.1:{tcp}, http 127.0.0.1:{http}; {options.seconds} s", flush=True)
    try:
        done = subprocess.run(
            words,
            env=os.environ | addresses,
            cwd=started.folder,
            timeout=options.seconds + GRACE_S,
            check=False,
            preexec_fn=lambda: os.sched_setaffinity(0, {LOAD_CPU}),
        )
    except subprocess.TimeoutExpired as late:
        raise Failed(f"locust: did not end within {late.timeout:.0f} s") from late
    print("no failures" if done.returncode == 0 else f"failures: locust ended with {done.returncode}")
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
