"""No signal is lost or lethal before it is handled. Each test has a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.support.source import ROOT

PROGRAM = """
import asyncio, os, signal, sys
from lb.shell import signals
signals.block()
print("blocked", flush=True)
sys.stdin.readline()  # the signal is sent meanwhile

async def main():
    heard = asyncio.Queue()
    signals.handle(
        asyncio.get_running_loop(),
        on_reload=lambda: heard.put_nowait("reload"),
        on_stop=lambda: heard.put_nowait("stop"),
        on_reopen=lambda: heard.put_nowait("reopen"),
    )
    while True:
        print(await heard.get(), flush=True)

import uvloop
uvloop.run(main())
"""


@pytest.mark.parametrize(
    ("number", "heard"),
    [
        (signal.SIGHUP, "reload"),
        (signal.SIGTERM, "stop"),
        (signal.SIGINT, "stop"),
        (signal.SIGUSR1, "reopen"),
    ],
)
def test_signal_is_kept_until_it_is_handled_and_heard_from_then_on(
    number: signal.Signals, heard: str
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        assert process.stdout.readline() == "blocked\n"
        process.send_signal(signal.SIGUSR2)  # ignored, at every moment
        process.send_signal(number)
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.stdout.readline() == f"{heard}\n"
        process.send_signal(number)
        assert process.stdout.readline() == f"{heard}\n"
        process.kill()
