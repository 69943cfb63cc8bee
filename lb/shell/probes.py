"""All probes that run: each StartProbe is answered by exactly one ProbeFinished, unless it is cancelled.

No more than ACTIVE_COUNT_MAX probe at a time, and PROGRAMS_ACTIVE_COUNT_MAX run programs; the others queue,
and a probe's deadline starts with its turn. A probe that this machine could not make is repeated after a
pause and reported, but never answered with a failure; a timeout that our own loop may have caused is answered
as `late`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from lb.core.commands import CancelProbe, StartProbe
from lb.core.events import ProbeFinished
from lb.model.address import SocketAddress
from lb.model.check import Check, ProbeResult, Program
from lb.model.endpoint import EndpointKey
from lb.model.record import Record
from lb.shell.counts import Histogram, Tally
from lb.shell.lag import Lag
from lb.shell.probe import TimedOut, run_probe

ACTIVE_COUNT_MAX = 1024  # sockets: they come out of the reserve that sessions leave
PROGRAMS_ACTIVE_COUNT_MAX = 16  # processes cost more than sockets
PAUSE_S = 0.2
REPORT_EVERY_S = 10.0  # a machine out of descriptors fails thousands of probes a minute
BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

NEVER_RUN = Tally(BOUNDS_S).histogram()


class Probes:
    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_finished: Callable[[ProbeFinished], None],
        *,
        lag: Lag,
        on_record: Callable[[Record], None],
        run: Callable[[Check, SocketAddress], Awaitable[ProbeResult]] = run_probe,
    ) -> None:
        self._loop = loop
        self._on_finished = on_finished
        self._on_record = on_record
        self._lag = lag
        self._run = run
        self._active = asyncio.Semaphore(ACTIVE_COUNT_MAX)
        self._programs_active = asyncio.Semaphore(PROGRAMS_ACTIVE_COUNT_MAX)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._durations: dict[EndpointKey, Tally] = {}
        self._impossible_count = 0
        self._report_at_s = float("-inf")

    def start(self, command: StartProbe) -> None:
        task = self._loop.create_task(self._probe(command), name=f"probe {command.key}")
        self._tasks[command.probe] = task
        task.add_done_callback(lambda _: self._tasks.pop(command.probe, None))

    def cancel(self, command: CancelProbe) -> None:
        """No ProbeFinished follows."""
        if task := self._tasks.pop(command.probe, None):
            task.cancel()

    async def stop(self) -> None:
        """Returns when no probe holds a socket any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def duration_seconds(self, key: EndpointKey) -> Histogram:
        """How long the probes of this endpoint took that were answered, passed or not."""
        tally = self._durations.get(key)
        return tally.histogram() if tally else NEVER_RUN

    def forget(self, key: EndpointKey) -> None:
        self._durations.pop(key, None)

    async def _probe(self, command: StartProbe) -> None:
        runs_program = isinstance(command.check.question, Program)
        active = self._programs_active if runs_program else self._active
        while True:
            async with active:
                started_s = time.monotonic()
                try:
                    result = await self._run(command.check, command.check.target(command.address))
                except Exception as error:  # ProbeImpossible, or a defect of ours: neither stops the check
                    self._report(command.key, error)
                else:
                    break
            await asyncio.sleep(PAUSE_S)
        late = isinstance(result, TimedOut) and self._lag.late_since(started_s)
        if not late:
            self._durations.setdefault(command.key, Tally(BOUNDS_S)).add(result.duration_s)
        self._on_finished(ProbeFinished(command.probe, command.key, result, late))

    def _report(self, key: EndpointKey, error: Exception) -> None:
        """One record for all endpoints, at most every REPORT_EVERY_S."""
        self._impossible_count += 1
        now_s = time.monotonic()
        if now_s < self._report_at_s:
            return
        facts = {
            "pool": key.pool,
            "endpoint": key.endpoint,
            "error": f"{type(error).__name__}: {error}",
            "count": self._impossible_count,
        }
        self._on_record(Record("probe_impossible", "error", facts))
        self._impossible_count, self._report_at_s = 0, now_s + REPORT_EVERY_S
