"""Programs as checks: what they are told, how they end, and that nothing of them is left."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from lb.model.address import Address, SocketAddress, UnixAddress
from lb.model.check import Check, ProbeResult, Program
from lb.shell.probe import ProbeImpossible, run_probe
from tests.support.open_fds import open_fds
from tests.support.probing import Run
from tests.support.process import living
from tests.support.waiting import eventually

ENDPOINT = Address("127.0.0.1", 8080)


def shell(run: Run, script: str, address: SocketAddress = ENDPOINT, timeout_s: float = 5.0) -> ProbeResult:
    check = Check(Program("/bin/sh", ("-c", script)), timeout_s=timeout_s)
    return run(run_probe(check, address))


@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("exit 0", ProbeResult(True, "exit code 0")),
        ("echo; echo OK - 3 ms; echo more", ProbeResult(True, "exit code 0: OK - 3 ms")),
        ("echo no answer >&2; exit 2", ProbeResult(False, "exit code 2: no answer")),
        ("echo going; kill -TERM $$", ProbeResult(False, "ended by SIGTERM: going")),
        ("kill -40 $$", ProbeResult(False, "ended by signal 40")),
        (r"printf 'a\033[31mb'", ProbeResult(True, "exit code 0: a\\x1b[31mb")),
    ],
)
def test_exit_code_decides_and_the_first_line_is_shown(run: Run, script: str, result: ProbeResult) -> None:
    assert shell(run, script) == result


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (ENDPOINT, "127.0.0.1 8080 127.0.0.1:8080"),
        (Address("::1", 80), "::1 80 [::1]:80"),
        (UnixAddress("/run/app.sock"), "/run/app.sock  unix:/run/app.sock"),
    ],
)
def test_program_is_told_which_endpoint(run: Run, address: SocketAddress, told: str) -> None:
    by_arguments = Program("/bin/echo", ("{host} {port} {address}",))
    assert run(run_probe(Check(by_arguments), address)).detail == f"exit code 0: {told}"
    assert shell(run, 'echo "$LB_HOST $LB_PORT $LB_ADDRESS"', address).detail == f"exit code 0: {told}"


def test_environment_has_nothing_of_ours(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    assert shell(run, 'echo "[$SECRET]"').detail == "exit code 0: []"


def test_program_whose_time_is_up_is_killed_with_all_it_started(run: Run, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began_s = time.monotonic()
    result = shell(run, f"sleep 60 & echo $$ $! > {pids}; wait", timeout_s=0.5)
    assert (result.ok, result.detail) == (False, "timeout after 0.5 s (no answer)")
    assert time.monotonic() - began_s < 2.0
    started = {int(word) for word in pids.read_text().split()}
    eventually(lambda: not started & set(living()), within_s=5.0, reason=f"{started} are gone")


def test_what_a_program_leaves_behind_is_not_waited_for_and_dies(run: Run, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    began_s = time.monotonic()
    assert shell(run, f"sleep 60 & echo $! > {pids}; echo ok") == ProbeResult(True, "exit code 0: ok")
    assert time.monotonic() - began_s < 2.0
    eventually(lambda: int(pids.read_text()) not in living(), within_s=5.0, reason="it is gone")


def test_program_that_writes_without_end_is_read_and_not_kept(run: Run) -> None:
    assert shell(run, "yes | head -c 10000000").detail == "exit code 0: y"


def test_program_that_cannot_be_run_says_nothing_about_the_endpoint(run: Run, tmp_path: Path) -> None:
    for path in ("/nowhere", str(tmp_path)):
        with pytest.raises(ProbeImpossible, match=path):
            run(run_probe(Check(Program(path)), ENDPOINT))


def test_nothing_is_left_open(run: Run) -> None:
    async def several() -> ProbeResult:
        before = open_fds()
        check = Check(Program("/bin/true"))
        results = await asyncio.gather(*(run_probe(check, ENDPOINT) for _ in range(10)))
        await asyncio.sleep(0.05)
        assert open_fds() == before
        return results[0]

    run(several())
    assert run(several()).ok
