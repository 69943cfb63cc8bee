"""An endpoint of the demo answers, comes back when it is ended, and never outlives the demo."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lb.cli import demo_endpoint
from lb.cli.demo_endpoint import DemoEndpoint
from tests.support.async_waiting import until
from tests.support.source import ROOT
from tests.support.waiting import eventually

PARENT = """
import asyncio
from lb.cli.demo_endpoint import DemoEndpoint

async def main():
    endpoint = DemoEndpoint("a", print)
    await endpoint.start()
    print(endpoint.pid, flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


@asynccontextmanager
async def running(said: list[str]) -> AsyncIterator[DemoEndpoint]:
    endpoint = DemoEndpoint("a", said.append)
    try:
        await endpoint.start()
        yield endpoint
    finally:
        await endpoint.stop()


async def answer(port: int, request: bytes = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    writer.write_eof()
    said = await reader.read()
    writer.close()
    return said


async def test_endpoint_says_who_it_is() -> None:
    async with running([]) as endpoint:
        said = await answer(endpoint.port)
        assert said.startswith(b"HTTP/1.1 200 OK\r\n")
        assert said.endswith(b"\r\n\r\nhello from a\n")


async def test_endpoint_survives_what_is_no_request() -> None:
    async with running([]) as endpoint:
        assert await answer(endpoint.port, b"nonsense") == b""
        assert b"hello" in await answer(endpoint.port)


async def test_endpoint_that_was_ended_comes_back_on_its_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_endpoint, "AGAIN_AFTER_S", 0.01)
    said: list[str] = []
    async with running(said) as endpoint:
        before = endpoint.pid, endpoint.port
        os.kill(endpoint.pid, signal.SIGTERM)
        await until(lambda: len(said) == 2, "it has ended and was started again")
        assert said == [
            f"endpoint a: process {before[0]} has ended",
            f"endpoint a: started again as process {endpoint.pid}",
        ]
        assert endpoint.port == before[1]
        assert b"hello" in await answer(endpoint.port)


def test_endpoint_dies_with_a_demo_that_is_killed_hard() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        parent.kill()
    eventually(lambda: has_ended(pid), within_s=5, reason="the endpoint is gone too")


def has_ended(pid: int) -> bool:
    """A zombie has ended; whether somebody reaps it is up to pid 1."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"
