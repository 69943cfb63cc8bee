"""Many endpoints: each is probed in its turn, once for the host, and evenly spread."""

from __future__ import annotations

import asyncio
import statistics
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import uvloop

from tests.support.lb_process import configuration, running_lb
from tests.support.ports import free_port
from tests.support.scale import Scale
from tests.support.vitals import cpu_s
from tests.support.waiting import throughout

ENDPOINTS = 500
INTERVAL_S = 2.0
WORKERS = 4
BIN_S = 0.2


@contextmanager
def probed_server() -> Iterator[tuple[int, list[float]]]:
    """Its port, and when each connection came."""
    port, came, ready, loop = free_port(), [], threading.Event(), uvloop.new_event_loop()

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        await reader.read()
        writer.close()

    async def serve() -> None:
        await asyncio.start_server(session, "127.0.0.1", port, backlog=1024)
        ready.set()
        await asyncio.Event().wait()

    def run() -> None:
        with suppress(asyncio.CancelledError):
            loop.run_until_complete(serve())

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(5.0)
    try:
        yield port, came
    finally:
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
        thread.join(5.0)
        loop.close()


def test_five_hundred_endpoints_are_probed_at_their_rate_and_evenly(folder: Path, scale: Scale) -> None:
    """One server with five hundred names, whatever the number of workers."""
    seconds = scale.of(full=60, ci=10)
    with probed_server() as (port, came):
        members = [{"name": f"e{number}", "address": f"127.0.0.1:{port}"} for number in range(ENDPOINTS)]
        check = {"type": "tcp", "interval": f"{INTERVAL_S:g}s", "jitter": "0%"}
        text = configuration(
            listeners={"web": {"bind": f"127.0.0.1:{free_port()}", "pool": "web"}},
            pools={"web": {"endpoints": members, "check": check}},
            workers=WORKERS,
        )
        with running_lb(text, folder) as lb:
            throughout(lambda: lb.process.alive, for_s=2 * INTERVAL_S, reason="lb runs", every_s=0.5)
            from_s, cpu_before_s = time.monotonic(), cpu_s(lb.process.pid)
            throughout(lambda: lb.process.alive, for_s=seconds, reason="lb runs", every_s=0.5)
            until_s, used_s = time.monotonic(), cpu_s(lb.process.pid) - cpu_before_s
            assert all(each["health"] == "UP" for each in lb.status()["pools"][0]["endpoints"])
    seen = [at_s for at_s in came if from_s <= at_s < until_s]
    rate, wanted = len(seen) / (until_s - from_s), ENDPOINTS / INTERVAL_S
    bins = Counter(int((at_s - from_s) / BIN_S) for at_s in seen)
    counts = [bins[number] for number in range(int((until_s - from_s) / BIN_S) - 1)]
    spread = f"{min(counts)} to {max(counts)} in {BIN_S:g} s, median {statistics.median(counts):g}"
    cpu = f"the supervisor used {100 * used_s / seconds:.0f} % of a CPU"
    print(f"\n{rate:.1f} probes per second (wanted: {wanted:g}); {spread}; {cpu}")
    assert 0.95 * wanted < rate < 1.05 * wanted
    assert max(counts) < 2 * BIN_S * wanted
    assert min(counts) > 0.4 * BIN_S * wanted
