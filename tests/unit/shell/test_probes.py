"""Every probe that is started is answered once, and only with what it proves."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from lb.core.commands import CancelProbe, StartProbe
from lb.core.events import ProbeFinished
from lb.model.address import Address
from lb.model.check import Check, HttpRequest, ProbeResult
from lb.model.endpoint import EndpointKey
from lb.model.record import Record
from lb.shell import probes as module
from lb.shell.lag import Lag
from lb.shell.probe import ProbeImpossible, TimedOut, run_probe
from lb.shell.probes import Probes
from tests.support.blackhole import blackhole
from tests.support.scripted import scripted
from tests.support.source import ROOT

KEY = EndpointKey("web", "a")
ANYWHERE = Address("127.0.0.1", 1)
PASSED = ProbeResult(True, "connected", 0.003)

Probing = Callable[[Check, Address], Awaitable[ProbeResult]]


class Bench:
    """Probes, and what they answered and reported. Used inside a running loop."""

    def __init__(self, probing: Probing) -> None:
        loop = asyncio.get_running_loop()
        self.lag = Lag(loop)
        self.lag.start()
        self.answers: list[ProbeFinished] = []
        self.records: list[Record] = []
        self._answered = asyncio.Event()
        self.probes = Probes(
            loop, self._on_finished, lag=self.lag, on_record=self.records.append, run=probing
        )

    def start(self, number: int, check: Check = Check(), address: Address = ANYWHERE) -> None:  # noqa: B008
        self.probes.start(StartProbe(number, KEY, address, check))

    async def answered(self, count: int, within_s: float = 10.0) -> list[ProbeFinished]:
        async with asyncio.timeout(within_s):
            while len(self.answers) < count:
                self._answered.clear()
                await self._answered.wait()
        return self.answers

    def _on_finished(self, event: ProbeFinished) -> None:
        self.answers.append(event)
        self._answered.set()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    uvloop.run(main())


async def passing(check: Check, address: Address) -> ProbeResult:
    return PASSED


def hold_still(seconds: float) -> None:
    threading.Event().wait(seconds)


# ---- Answers ----------------------------------------------------------------------------------------


def test_probes_answer_each_start_with_its_number_and_result() -> None:
    async def scenario() -> None:
        bench = Bench(passing)
        bench.start(7)
        assert await bench.answered(1) == [ProbeFinished(7, KEY, PASSED)]
        assert sum(bench.probes.duration_seconds(KEY).counts) == 1
        assert bench.probes.duration_seconds(KEY).sum == PASSED.duration_s

    run(scenario)


def test_probes_go_where_the_check_says() -> None:
    asked: list[Address] = []

    async def noting(check: Check, address: Address) -> ProbeResult:
        asked.append(address)
        return PASSED

    async def scenario() -> None:
        bench = Bench(noting)
        bench.start(1, Check(port=8081), Address("10.0.0.1", 80))
        await bench.answered(1)

    run(scenario)
    assert asked == [Address("10.0.0.1", 8081)]


def test_probes_that_are_cancelled_or_stopped_are_never_answered() -> None:
    async def scenario() -> None:
        with scripted(lambda connection: None) as endpoint:
            bench = Bench(run_probe)
            hung = Check(HttpRequest(), timeout_s=30.0)
            bench.start(1, hung, endpoint.address)
            bench.start(2, hung, endpoint.address)
            await asyncio.to_thread(endpoint.heard, 2)
            bench.probes.cancel(CancelProbe(1))
            bench.probes.cancel(CancelProbe(99))
            await bench.probes.stop()
            endpoint.ended(2)
            assert bench.answers == []

    run(scenario)


def test_probes_beyond_the_cap_wait_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACTIVE_COUNT_MAX", 3)
    active = 0
    most = 0

    async def counting(check: Check, address: Address) -> ProbeResult:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.001)
        active -= 1
        return PASSED

    async def scenario() -> None:
        bench = Bench(counting)
        for number in range(20):
            bench.start(number)
        assert {event.probe for event in await bench.answered(20)} == set(range(20))

    run(scenario)
    assert most == 3


def test_probes_forget_the_durations_of_an_endpoint_that_went() -> None:
    async def scenario() -> None:
        bench = Bench(passing)
        bench.start(1)
        await bench.answered(1)
        bench.probes.forget(KEY)
        assert bench.probes.duration_seconds(KEY) == module.NEVER_RUN

    run(scenario)


# ---- What this machine lacks --------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ProbeImpossible("socket: Too many open files"), ZeroDivisionError("ours")])
def test_probes_that_cannot_be_made_are_repeated_and_reported_once(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PAUSE_S", 0.001)
    failures = [error] * 5

    async def scarce(check: Check, address: Address) -> ProbeResult:
        if failures:
            raise failures.pop()
        return PASSED

    async def scenario() -> None:
        bench = Bench(scarce)
        bench.start(1)
        assert await bench.answered(1) == [ProbeFinished(1, KEY, PASSED)]
        (record,) = bench.records
        assert (record.event, record.level) == ("probe_impossible", "error")
        assert record.facts["error"] == f"{type(error).__name__}: {error}"

    run(scenario)


# ---- Timeouts of our own making -----------------------------------------------------------------------


def test_probes_that_time_out_on_a_loop_on_time_are_not_late() -> None:
    async def scenario() -> None:
        bench = Bench(run_probe)
        with blackhole() as hole:
            bench.start(1, Check(timeout_s=0.2), Address("127.0.0.1", hole.port))
            (event,) = await bench.answered(1)
        assert isinstance(event.result, TimedOut)
        assert not event.late
        assert sum(bench.probes.duration_seconds(KEY).counts) == 1

    run(scenario)


@pytest.mark.parametrize("held_at_s", [0.0, 0.1])
def test_probes_that_time_out_on_a_late_loop_are_late(held_at_s: float) -> None:
    async def scenario() -> None:
        bench = Bench(run_probe)
        with blackhole() as hole:
            bench.start(1, Check(timeout_s=0.3), Address("127.0.0.1", hole.port))
            asyncio.get_running_loop().call_later(held_at_s, hold_still, 0.5)
            (event,) = await bench.answered(1)
        assert isinstance(event.result, TimedOut)
        assert event.late
        assert sum(bench.probes.duration_seconds(KEY).counts) == 0

    run(scenario)


def test_probes_started_at_the_end_of_a_long_turn_have_their_whole_time() -> None:
    """uvloop's clock stands still during a turn: a deadline reckoned from it would have passed already."""

    async def scenario() -> None:
        bench = Bench(run_probe)
        with blackhole() as hole:
            hold_still(0.5)
            bench.start(1, Check(timeout_s=0.3), Address("127.0.0.1", hole.port))
            (event,) = await bench.answered(1)
        assert event.result.duration_s >= 0.29

    run(scenario)


def test_probes_that_are_refused_on_a_late_loop_still_prove_something() -> None:
    async def refused(check: Check, address: Address) -> ProbeResult:
        hold_still(0.3)
        return ProbeResult(False, "connect: refused")

    async def scenario() -> None:
        bench = Bench(refused)
        bench.start(1)
        (event,) = await bench.answered(1)
        assert not event.late

    run(scenario)


STOPPED = """
import asyncio, json, sys
import uvloop
from tests.unit.shell.test_probes import Bench, Check, HttpRequest, Address, run_probe

async def main():
    bench = Bench(run_probe)
    for number in range(20):
        bench.start(number, Check(HttpRequest(), timeout_s=0.5), Address("127.0.0.1", int(sys.argv[1])))
    await asyncio.sleep(0.1)
    print("waiting", flush=True)
    print(json.dumps([(event.result.ok, event.late) for event in await bench.answered(20)]))
uvloop.run(main())
"""


def test_probes_of_a_process_that_was_stopped_and_continued_are_late() -> None:
    with scripted(lambda connection: None) as endpoint:
        arguments = [sys.executable, "-c", STOPPED, str(endpoint.address.port)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, cwd=ROOT) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == "waiting\n"
            os.kill(child.pid, signal.SIGSTOP)
            hold_still(1.0)  # twice as long as the probes may take
            os.kill(child.pid, signal.SIGCONT)
            assert json.loads(child.stdout.readline()) == [[False, True]] * 20
