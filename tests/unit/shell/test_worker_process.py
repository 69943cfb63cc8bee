"""A process of ours from birth to death, whatever it does in between."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lb.shell.control import Message
from lb.shell.worker_process import SUPERVISOR_SIGNALS, Answer, WorkerProcess, ending
from tests.support.async_waiting import until
from tests.support.open_fds import open_fds
from tests.support.source import ROOT

# What the child runs: it has its end of the channel in `channel`.
PRELUDE = """
import os, signal, socket, sys, time
sys.path.insert(0, sys.argv[1])
from lb.shell.control import Channel
channel = Channel(socket.socket(fileno=int(sys.argv[2])))
heard = []
def hear():
    while not heard:
        heard.extend(message for message, _ in channel.receive())
        signal.sigtimedwait((), 0.005)
    return heard.pop(0)
"""
STAY = "signal.sigtimedwait((), 60)"


@asynccontextmanager
async def child(program: str, cpu: int | None = None) -> AsyncIterator[tuple[WorkerProcess, list[Message]]]:
    heard: list[Message] = []
    process = WorkerProcess((sys.executable, "-c", PRELUDE + program, str(ROOT)), cpu, heard.append)
    try:
        yield process, heard
    finally:
        process.kill()
        await ended(process)


async def answered(answer: Answer) -> Message | None:
    await until(answer.done, "it answered")
    return answer.result()


async def ended(process: WorkerProcess) -> int:
    await until(process.exited.done, "the process ended")
    return process.exited.result()


def field(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split(":", 1)[1].strip() for line in lines if line.startswith(name + ":"))


# ---- Birth ----


async def test_process_is_born_with_the_supervisors_signals_blocked() -> None:
    """The trap: a SIGINT to the process group kills a worker that has not got to ignoring it yet."""
    async with child(STAY) as (process, _):
        blocked = int(field(process.pid, "SigBlk"), 16)
        assert all(blocked & 1 << number - 1 for number in SUPERVISOR_SIGNALS)
        assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & set(SUPERVISOR_SIGNALS)


async def test_process_has_no_other_descriptor_than_its_channel() -> None:
    """The trap: a worker that inherits another's channel never lets it see its end."""
    fd = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(fd, True)
    report = "fds = os.listdir('/proc/self/fd'); channel.send({'type': 'fds', 'count': len(fds)})"
    async with child(report) as (_, heard), child(report):
        await until(lambda: heard, "it told its descriptors")
    os.close(fd)
    assert heard[0]["count"] == 5  # the standard three, the channel, and the folder it is listing


async def test_process_reads_nothing_from_the_terminal() -> None:
    report = "channel.send({'type': 'input', 'input': os.readlink('/proc/self/fd/0')})"
    async with child(report) as (_, heard):
        await until(lambda: heard, "it told where its input comes from")
    assert heard[0]["input"] == "/dev/null"


async def test_process_keeps_uvloop_from_io_uring() -> None:
    async with child("channel.send({'type': 'is', 'is': os.environ['UV_USE_IO_URING']})") as (_, heard):
        await until(lambda: heard, "it told its environment")
    assert heard[0]["is"] == "0"


async def test_process_pinned_runs_on_its_cpu_and_we_on_ours() -> None:
    before = os.sched_getaffinity(0)
    cpu = max(before)
    async with child(STAY, cpu) as (process, _):
        assert os.sched_getaffinity(process.pid) == {cpu}
        assert os.sched_getaffinity(0) == before


async def test_process_that_cannot_be_spawned_raises_and_leaves_nothing() -> None:
    before = open_fds()
    with pytest.raises(FileNotFoundError):
        WorkerProcess(("/nowhere/python",), None, lambda message: None)
    with pytest.raises(OSError, match="Invalid argument"):
        WorkerProcess((sys.executable,), 1023, lambda message: None)
    assert open_fds() == before


# ---- Life ----


async def test_process_answers_are_told_apart_by_their_number() -> None:
    program = """
for _ in range(2): hear()
for number in (2, 1): channel.send({'type': 'published', 'generation': number})
"""
    async with child(program) as (process, heard):
        first = process.ask({"type": "publish"}, answer="published", number=1)
        second = process.ask({"type": "publish"}, answer="published", number=2)
        assert await answered(second) == {"type": "published", "generation": 2}
        assert await answered(first) == {"type": "published", "generation": 1}
        assert heard == []


async def test_process_refusal_answers_the_question_too() -> None:
    program = "hear(); channel.send({'type': 'refused', 'generation': 3, 'why': 'unsound'})"
    async with child(program) as (process, _):
        answer = await answered(process.ask({"type": "publish"}, answer="published", number=3))
        assert answer is not None
        assert answer["why"] == "unsound"


# ---- Death ----


async def test_process_that_dies_leaves_no_zombie_and_no_question_open() -> None:
    before = open_fds()
    async with child(STAY) as (process, _):
        answer = process.ask({"type": "publish"}, answer="published", number=1)
        os.kill(process.pid, signal.SIGSEGV)
        assert await ended(process) == -signal.SIGSEGV
        assert answer.result() is None
        assert not Path(f"/proc/{process.pid}").exists()
        assert process.ask({"type": "publish"}, answer="published", number=2).result() is None
        process.tell({"type": "stop"})
    assert open_fds() == before


async def test_process_last_words_are_heard_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lb.shell.control.MESSAGES_PER_CALL_MAX", 3)
    program = """
hear()
for _ in range(10): channel.send({'type': 'failures'})
channel.send({'type': 'drained', 'cut': 7})
os._exit(0)
"""
    async with child(program) as (process, heard):
        answer = process.ask({"type": "drain"}, answer="drained")
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it is dead before anything is read
        assert await ended(process) == 0
        assert answer.result() == {"type": "drained", "cut": 7}
        assert len(heard) == 10


async def test_process_that_closes_its_channel_may_end_by_itself() -> None:
    """The trap: an interpreter that is killed while it tears itself down loses its exit code."""
    async with child("channel.close(); signal.sigtimedwait((), 0.1); sys.exit(70)") as (process, _):
        assert await ended(process) == 70


async def test_process_that_closes_its_channel_and_stays_is_killed() -> None:
    async with child("channel.close();" + STAY) as (process, _):
        assert await ended(process) == -signal.SIGKILL


async def test_process_that_talks_nonsense_is_killed() -> None:
    async with child("channel._sock.send(b'nonsense');" + STAY) as (process, _):
        assert await ended(process) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "exit code 1"),
        (70, "exit code 70: the installed files changed; restart or upgrade lb"),
        (-9, "signal 9 (SIGKILL)"),
        (-40, "signal 40"),
    ],
)
def test_ending_in_words_says_what_it_was(code: int, words: str) -> None:
    assert ending(code) == words
