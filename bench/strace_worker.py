"""`python -m bench.strace_worker`: the system calls of one proxy per connection.

N times connect, exchange, close, over loopback, while `strace -c -f` counts the calls of the process that
carries the traffic (lb: its one worker). Counts are exact; times under strace are meaningless and are not
shown. Calls made per wake-up (epoll_wait, epoll_pwait) depend on how many sessions are in flight, and the
slowness of strace makes batches larger than they are without it: --in-flight 1 is the other extreme.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import build, cpu, proxy
from bench.peers import PEERS
from bench.process import LOAD_CPU, Child, Children, Failed, children, prepare_machine, tree

ATTACH_TIMEOUT_S = 10.0
CLIENT_TIMEOUT_S = 60.0
DETACH_TIMEOUT_S = 10.0
QUIET_STEP_S = 0.2
QUIET_S_MAX = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.strace_worker", description=__doc__)
    proxies = [name for name, peer in PEERS.items() if peer.command]
    parser.add_argument("--peer", choices=proxies, default="lb")
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args()
    if shutil.which("strace") is None:
        raise SystemExit("bench: strace is not installed (apt-get install strace)")
    build.ensure()
    prepare_machine()
    try:
        with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder, children(Path(folder)) as started:
            return count(started, options)
    except Failed as failed:
        raise SystemExit(f"bench: {failed}") from failed


def count(started: Children, options: argparse.Namespace) -> int:
    running = proxy.start(started, PEERS[options.peer], [started.endpoint("reply")])
    (port,) = running.ports
    carrier = carrier_of(running.child)
    # The first connections are made before: what is done once (lazy set-up) is not the cost of a connection.
    run_client(started, port, options.in_flight, options.in_flight)
    summary = started.folder / "strace.txt"
    strace = started.start("strace", ["strace", "-c", "-f", "-p", str(carrier), "-o", str(summary)], LOAD_CPU)
    wait_attached(strace)
    result = run_client(started, port, options.connections, options.in_flight)
    wait_quiet(carrier)
    strace.process.send_signal(signal.SIGINT)
    strace.process.wait(DETACH_TIMEOUT_S)
    # The client opens its slots once before it counts, and lets what is under way end.
    print_table(parse(summary.read_text()), options.in_flight + result["operations"], options)
    errors = {kind: number for kind, number in result["errors"].items() if number}
    if errors:
        print(f"errors: {errors}")
    return 1 if errors else 0


def carrier_of(child: Child) -> int:
    """The process that carries traffic: the last descendant (lb's worker, nginx's worker), else the proxy."""
    for pid in reversed(tree(child.pid)):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"lb.worker" in words or b"nginx: worker process" in words[0]:
            return pid
    return tree(child.pid)[-1]


def run_client(started: Children, port: int, connections: int, in_flight: int) -> dict:
    words = ["--mode", "connect", "--port", str(port), "--sessions", str(in_flight), "--warmup", "0"]
    words += ["--operations", str(connections), "--seconds", str(CLIENT_TIMEOUT_S)]
    return started.load("client", *words).line(2 * CLIENT_TIMEOUT_S)


def wait_attached(strace: Child) -> None:
    deadline_s = time.monotonic() + ATTACH_TIMEOUT_S
    while "attached" not in strace.log_path.read_text():
        if time.monotonic() > deadline_s or strace.process.poll() is not None:
            raise strace.failed("did not attach")
        time.sleep(0.02)


def wait_quiet(pid: int) -> None:
    """Until the process has used no CPU for a while: its last connections are closed."""
    deadline_s = time.monotonic() + QUIET_S_MAX
    last_ns = -1
    while (now_ns := cpu.process_ns(pid)) != last_ns and time.monotonic() < deadline_s:
        last_ns = now_ns
        time.sleep(QUIET_STEP_S)


def parse(text: str) -> dict[str, int]:
    """Calls by name, from the table of `strace -c` (its fourth column)."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            found[words[-1]] = int(words[3])
    return found


def print_table(calls: dict[str, int], connections: int, options: argparse.Namespace) -> None:
    print(f"{options.peer}: {connections} connections, {options.in_flight} in flight\n")
    print(f"{'calls':>8}  {'per connection':>14}  name")
    for name, number in sorted(calls.items(), key=lambda item: -item[1]):
        print(f"{number:8}  {number / connections:14.2f}  {name}")
    total = sum(calls.values())
    print(f"{total:8}  {total / connections:14.2f}  all")


if __name__ == "__main__":
    sys.exit(main())
