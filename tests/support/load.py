"""Load beside a test: clients in processes of their own, started and ended around a block.

exchanges()   our own HTTP client, which explains each failure (tests/support/exchange_client.py)
storm()       bench.load's client: thousands of short connections a second, or messages on open sessions
wrk()         the program of that name, a new connection for each request
"""

from __future__ import annotations

import re
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.exchange_client import Failure
from tests.support.process import Process, find

STARTED_WITHIN_S = 60.0  # the first of bench.load's programs compiles them
ENDED_WITHIN_S = 30.0


class Exchanges:
    """What an exchange client saw. Complete after the block that it was started for."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.exchanges = 0
        self.slowest_ms = 0.0
        self.failures: list[Failure] = []
        self.answers: dict[int, dict[str, int]] = {}

    def finish(self) -> None:
        """Ends the client and takes its report; the exchanges under way are let finish."""
        if self.process.alive:
            self.process.signal(signal.SIGTERM)
            report = self.process.next_line(ENDED_WITHIN_S)
            self.process.wait(ENDED_WITHIN_S, "it has reported")
            self.exchanges, self.slowest_ms = report["exchanges"], report["slowest_ms"]
            self.failures = [Failure(**failure) for failure in report["failures"]]
            self.answers = {int(tenth): names for tenth, names in report["answers"].items()}

    def between(self, from_s: float, until_s: float) -> Counter[str]:
        """Who answered how often in a span of CLOCK_MONOTONIC, to a tenth of a second."""
        found: Counter[str] = Counter()
        for tenth, names in self.answers.items():
            if from_s * 10 <= tenth < until_s * 10:
                found.update(names)
        return found

    def kinds(self) -> Counter[str]:
        return Counter(f"{failure.stage} {failure.kind}" for failure in self.failures)


@contextmanager
def exchanges(port: int, folder: Path, *, threads: int = 8, pause_ms: float = 2.0) -> Iterator[Exchanges]:
    words = [sys.executable, "-m", "tests.support.exchange_client", "--port", str(port)]
    words += ["--threads", str(threads), "--pause-ms", str(pause_ms)]
    running = Exchanges(Process(f"exchanges-{port}", words, folder))
    try:
        running.process.next_line(STARTED_WITHIN_S)
        yield running
        running.finish()
    finally:
        running.process.end()


class Storm:
    """One run of bench.load's client; `result` is its line, and waits for it."""

    def __init__(self, process: Process, seconds: float) -> None:
        self.process, self.seconds = process, seconds
        self._result: dict[str, Any] | None = None

    @property
    def result(self) -> dict[str, Any]:
        if self._result is None:
            self._result = self.process.next_line(self.seconds + STARTED_WITHIN_S)
        return self._result

    @property
    def errors(self) -> dict[str, int]:
        return {kind: count for kind, count in self.result["errors"].items() if count}

    @property
    def per_s(self) -> float:
        return self.result["operations"] / self.result["seconds"]


@contextmanager
def storm(mode: str, port: int, folder: Path, *, sessions: int, seconds: float) -> Iterator[Storm]:
    """`mode` is connect (against a `reply` endpoint) or messages (against an echo)."""
    words = [sys.executable, "-m", "bench.load", "client", "--mode", mode, "--port", str(port)]
    words += ["--sessions", str(sessions), "--seconds", str(seconds)]
    process = Process(f"storm-{mode}-{port}", words, folder)
    try:
        yield Storm(process, seconds)
    finally:
        process.end()


@contextmanager
def storm_endpoints(mode: str, names: str, folder: Path) -> Iterator[dict[str, int]]:
    """bench.load's endpoints, which keep up with a storm: their ports by name."""
    started: list[Process] = []
    ports = {}
    try:
        for name in names.split():
            words = [sys.executable, "-m", "bench.load", "endpoint", "--mode", mode]
            started.append(Process(f"storm-endpoint-{name}", words, folder))
            ports[name] = started[-1].next_line(STARTED_WITHIN_S)["port"]
        yield ports
    finally:
        for process in started:
            process.end()


class Wrk:
    """One run of wrk; its report is read when it has ended."""

    def __init__(self, process: Process) -> None:
        self.process = process

    def report(self, within_s: float) -> dict[str, int]:
        """`requests`, and the socket errors by kind: connect, read, write, timeout; `status` is not 2xx."""
        code = self.process.wait(within_s, "wrk has a fixed duration")
        text = self.process.out_path.read_text()
        assert code == 0, text + self.process.tail()
        found = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}
        for kind, count in re.findall(r"(connect|read|write|timeout) (\d+)", text):
            found[kind] = int(count)
        if refused := re.search(r"Non-2xx or 3xx responses: (\d+)", text):
            found["status"] = int(refused[1])
        requests = re.search(r"(\d+) requests in", text)
        assert requests, text
        return found | {"requests": int(requests[1])}


@contextmanager
def wrk(port: int, folder: Path, *, connections: int, seconds: int) -> Iterator[Wrk]:
    words = [find("wrk") or "wrk", "-c", str(connections), "-t", "1", "-d", f"{seconds}s", "--timeout", "10s"]
    words += ["-H", "Connection: close", f"http://127.0.0.1:{port}/"]
    process = Process(f"wrk-{port}", words, folder)
    try:
        yield Wrk(process)
    finally:
        process.end()
