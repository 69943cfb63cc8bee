"""The bench itself, very small: that a run ends with every figure, and that its open loop omits nothing."""

import json
import os
import selectors
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench.process import ROOT

RUN_TIMEOUT_S = 110
STALL_S = 0.5
RATE = 400

two_cpus = pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="the bench wants two CPUs")


@two_cpus
def test_run_of_all_three_loops_has_every_figure(tmp_path: Path) -> None:
    words = ["--rounds", "1", "--seconds", "0.2", "--peers", "lb,floor", "--out", str(tmp_path / "run")]
    words += ["--only", "connect,latency-connect,workers,idle"]
    done = subprocess.run(
        [sys.executable, "-m", "bench.compare", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
    run = json.loads((tmp_path / "run.json").read_text())
    used = {(s["workload"], s["peer"]): s for s in run["samples"] if s["round"] and "dropped" not in s}
    assert run["complete"], done.stderr
    assert not [sample["failed"] for sample in used.values() if "failed" in sample], done.stderr
    for peer in ("lb", "floor"):
        assert used["connect", peer]["cpu"] > 0
        assert used["latency-connect", peer]["p99"] > 0
        assert used["idle", peer]["session_bytes"] > 0
    assert {"workers-1", "workers-2"} <= {workload for workload, _ in used}
    assert used["connect", "lb"]["errors"]["log_lines_missing"] == 0
    assert "| lb |" in (tmp_path / "run.md").read_text()
    assert (tmp_path / "run.svg").read_text().startswith("<svg")


def test_open_loop_counts_a_stall_in_every_operation_that_was_due_in_it() -> None:
    """A closed loop over 4 sessions would see 4 slow operations of a thousand; they are 200 of 800 here."""
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=echo_with_a_stall, args=(listener,), daemon=True).start()
    words = ["--mode", "messages", "--rate", str(RATE), "--sessions", "4", "--seconds", "2", "--warmup", "0"]
    pace = subprocess.Popen(
        [sys.executable, "-m", "bench.load", "pace", "--sleep", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with pace, listener:
        assert pace.stdout is not None
        assert "port" in json.loads(pace.stdout.readline())  # of its own endpoint, which is not used here
        told = json.dumps({"port": listener.getsockname()[1], "pids": []})
        said, _ = pace.communicate(told + "\n", timeout=RUN_TIMEOUT_S)
    result = json.loads(said)
    assert not any(result["errors"].values())
    assert result["operations"] == 2 * RATE
    # A quarter of all waited, evenly from nothing to all of the stall: a tenth of all for 0.3 s or longer.
    assert result["latency_us"]["p90"] > 0.25e6


def echo_with_a_stall(listener: socket.socket) -> None:
    """Echoes what comes; once, after the first hundred reads, it does nothing for STALL_S."""
    reads = 0
    with selectors.DefaultSelector() as selector:
        selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is listener:
                    session, _ = listener.accept()
                    selector.register(session, selectors.EVENT_READ)
                    continue
                data = key.fileobj.recv(65536)
                if not data:
                    return
                key.fileobj.sendall(data)
                reads += 1
                if reads == 100:
                    time.sleep(STALL_S)  # tidy: it is the stall that is tested
