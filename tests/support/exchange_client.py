"""A client that makes one HTTP exchange per connection, from a few threads, and explains each failure.

`python -m tests.support.exchange_client --port N` works until SIGTERM, then prints one line of JSON:
exchanges (how many were answered in full), slowest_ms, failures (at most FAILURES_MAX are described), and
answers: for each tenth of a second (CLOCK_MONOTONIC, which all processes share) who answered how often.

A failure says how far the exchange had come: `connect` (refused, reset, timeout: no session of lb's), or
`answer` with the number of bytes that had come. A connection that lb accepted and then lost before it was
routed looks, from here, like one whose endpoint died: only lb's access log tells them apart, so each failure
carries its local port and the wall-clock time at which it began.
"""

from __future__ import annotations

import argparse
import collections
import json
import signal
import socket
import threading
import time
from dataclasses import asdict, dataclass

FAILURES_MAX = 1000
READ_BYTES = 65536
TIMEOUT_S = 10.0  # far above connect.timeout times connect.attempts_max
REQUEST = b"GET / HTTP/1.1\r\nHost: lb.test\r\nConnection: close\r\n\r\n"
KINDS = {ConnectionRefusedError: "refused", ConnectionResetError: "reset", TimeoutError: "timeout"}


@dataclass(frozen=True)
class Failure:
    stage: str  # connect | answer
    kind: str  # refused | reset | timeout | closed (the stream ended too early) | wrong | the error's name
    local_port: int
    began_s: float  # wall clock
    failed_at_s: float  # CLOCK_MONOTONIC
    bytes: int


class Tally:
    """Of one thread, so that no lock is needed. `answers` counts by tenth of a second and name."""

    def __init__(self) -> None:
        self.exchanges = 0
        self.slowest_s = 0.0
        self.failures: list[Failure] = []
        self.answers: collections.Counter[tuple[int, str]] = collections.Counter()


def exchange(port: int, tally: Tally) -> None:
    began_s, start_s = time.time(), time.monotonic()
    stage, local_port, answer = "connect", 0, b""

    def failed(kind: str) -> None:
        if len(tally.failures) < FAILURES_MAX:
            failure = Failure(stage, kind, local_port, began_s, time.monotonic(), len(answer))
            tally.failures.append(failure)

    with socket.socket() as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            connection.connect(("127.0.0.1", port))
            stage, local_port = "answer", connection.getsockname()[1]
            connection.sendall(REQUEST)
            while chunk := connection.recv(READ_BYTES):
                answer += chunk
        except OSError as error:
            failed(KINDS.get(type(error), type(error).__name__))
            return
    name = body_of(answer)
    if name is None:
        failed("wrong" if b"\r\n\r\n" in answer else "closed")
        return
    end_s = time.monotonic()
    tally.exchanges += 1
    tally.slowest_s = max(tally.slowest_s, end_s - start_s)
    tally.answers[int(end_s * 10), name] += 1


def body_of(answer: bytes) -> str | None:
    """The body of a whole answer with status 200; None for anything less."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *fields = head.lower().split(b"\r\n")
    length = next(
        (field.partition(b":")[2] for field in fields if field.startswith(b"content-length:")), b"-1"
    )
    if not status.startswith(b"http/1.1 200") or int(length) != len(body):
        return None
    return body.decode().strip()


def work(port: int, pause_s: float, tally: Tally, over: threading.Event) -> None:
    while not over.wait(pause_s):
        exchange(port, tally)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--pause-ms", type=float, default=2.0)
    options = parser.parse_args()

    over = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: over.set())
    tallies = [Tally() for _ in range(options.threads)]
    threads = [
        threading.Thread(target=work, args=(options.port, options.pause_ms / 1000, tally, over))
        for tally in tallies
    ]
    for thread in threads:
        thread.start()
    print(json.dumps({"working": options.threads}), flush=True)
    for thread in threads:
        thread.join()

    answers: dict[int, dict[str, int]] = collections.defaultdict(dict)
    for (tenth, name), count in sum((tally.answers for tally in tallies), collections.Counter()).items():
        answers[tenth][name] = count
    result = {
        "exchanges": sum(tally.exchanges for tally in tallies),
        "slowest_ms": round(1000 * max(tally.slowest_s for tally in tallies), 1),
        "failures": [asdict(failure) for tally in tallies for failure in tally.failures],
        "answers": answers,
    }
    print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
