"""`lb demo`: three endpoints, a listener and the admin server, with no file, no root and no network.

Everything is a child of this process or inside its temporary folder, and goes with it.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
import tempfile
from asyncio.subprocess import PIPE, Process
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lb.cli.events import clock, line
from lb.cli.run import finish

if TYPE_CHECKING:
    from lb.shell.runner import Runner

ENDPOINTS = ("a", "b", "c")
START_TIMEOUT_S = 10.0
AGAIN_AFTER_S = 10.0
CONFIG = """\
# The configuration of this demo. It is read again as soon as it is saved.
runtime_dir: {folder}
admin: {{bind: "127.0.0.1:{admin_port}"}}
log: {{level: error, access: off}}
shutdown: {{drain: 1s, orphan: 0s}}
listeners:
  web: {{bind: "127.0.0.1:{port}", pool: web}}
pools:
  web:
    endpoints:
{endpoints}
    check: {{type: http, interval: 500ms}}
"""
WHAT_TO_TRY = """
lb serves http://127.0.0.1:{port} from three endpoints. Try, in another terminal:

  curl http://127.0.0.1:{port}
  while sleep 0.2; do curl -s http://127.0.0.1:{port}; done

Stop one, watch it go; it is started again {again:.0f} s later:

{kills}

Take one out by hand, look, read the metrics:

  {lb} drain web/a --socket {folder}/admin.sock
  {lb} status --socket {folder}/admin.sock
  curl http://127.0.0.1:{admin_port}/metrics

Edit {folder}/lb.yaml: it is read as soon as it is saved.
Ctrl-C ends everything. What happens:
"""


def demo() -> None:
    """Try lb: three built-in endpoints behind a listener; no file, no root, no network."""
    from lb.shell import signals

    signals.block()
    with tempfile.TemporaryDirectory(prefix="lb-demo-") as folder:
        raise typer.Exit(finish(run(Path(folder))))


async def run(folder: Path) -> int:
    from lb.shell.runner import Runner

    async with AsyncExitStack() as stack:
        endpoints = [DemoEndpoint(name) for name in ENDPOINTS]
        for endpoint in endpoints:
            await endpoint.start()
            stack.push_async_callback(endpoint.stop)
        ports = free_ports(2)
        runner = Runner(write_config(folder, endpoints, *ports))
        telling = asyncio.create_task(tell(runner, what_to_try(folder, endpoints, *ports)))
        stack.callback(telling.cancel)
        return await runner.run()


class DemoEndpoint:
    """A child process that is started again on its port when somebody ends it."""

    def __init__(self, name: str) -> None:
        self.name, self.port = name, 0
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def start(self) -> None:
        ours = (sys.executable, "-m", "lb.cli.demo_endpoint", self.name, str(self.port), str(os.getpid()))
        self._process = await asyncio.create_subprocess_exec(*ours, stdout=PIPE)
        assert self._process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            self.port = int(await self._process.stdout.readline())
        self._keeping = asyncio.create_task(self._keep(self._process))

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _keep(self, process: Process) -> None:
        await process.wait()
        print(f"{clock()}  endpoint {self.name}: process {process.pid} has ended", flush=True)
        await asyncio.sleep(AGAIN_AFTER_S)
        await self.start()
        print(f"{clock()}  endpoint {self.name}: started again as process {self.pid}", flush=True)


async def tell(runner: Runner, text: str) -> None:
    """What to try, once it would work; from then on what happens."""
    await runner.serving.wait()
    print(text, flush=True)
    async for event in runner.feed.subscribe(past=False):
        print(line(event), flush=True)


def write_config(folder: Path, endpoints: list[DemoEndpoint], port: int, admin_port: int) -> Path:
    members = [f'      - {{name: {one.name}, address: "127.0.0.1:{one.port}"}}' for one in endpoints]
    path = folder / "lb.yaml"
    path.write_text(
        CONFIG.format(folder=folder, port=port, admin_port=admin_port, endpoints="\n".join(members))
    )
    return path


def what_to_try(folder: Path, endpoints: list[DemoEndpoint], port: int, admin_port: int) -> str:
    return WHAT_TO_TRY.format(
        lb="lb" if shutil.which("lb") else sys.argv[0],
        folder=folder,
        port=port,
        admin_port=admin_port,
        again=AGAIN_AFTER_S,
        kills="\n".join(f"  kill {one.pid}    # {one.name}" for one in endpoints),
    )


def free_ports(count: int) -> list[int]:
    """Ports nobody uses now. All are held until the last is found, so they differ."""
    with_all = [socket.socket() for _ in range(count)]
    for one in with_all:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in with_all]
    for one in with_all:
        one.close()
    return ports
