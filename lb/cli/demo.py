"""`lb demo`: three endpoints, a listener and the admin server, with no file, no root and no network.

Everything is a child of this process or inside its temporary folder, and goes with it.
"""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lb.cli.events import clock, line
from lb.cli.run import finish

if TYPE_CHECKING:
    from lb.cli.demo_endpoint import DemoEndpoint
    from lb.shell.runner import Runner

ENDPOINTS = ("a", "b", "c")
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
    import asyncio

    from lb.cli.demo_endpoint import DemoEndpoint
    from lb.shell.runner import Runner

    async with AsyncExitStack() as stack:
        endpoints = [DemoEndpoint(name, say) for name in ENDPOINTS]
        for endpoint in endpoints:
            stack.push_async_callback(endpoint.stop)
        await asyncio.gather(*(endpoint.start() for endpoint in endpoints))
        ports = free_ports(2)
        runner = Runner(write_config(folder, endpoints, *ports))
        telling = asyncio.create_task(tell(runner, what_to_try(folder, endpoints, *ports)))
        stack.callback(telling.cancel)
        return await runner.run()


async def tell(runner: Runner, text: str) -> None:
    """What to try, once it would work; from then on what happens."""
    await runner.serving.wait()
    print(text, flush=True)
    async for event in runner.feed.subscribe(past=False):
        if event["level"] != "debug":
            print(line(event), flush=True)


def say(text: str) -> None:
    print(f"{clock()}  {text}", flush=True)


def write_config(folder: Path, endpoints: list[DemoEndpoint], port: int, admin_port: int) -> Path:
    members = [f'      - {{name: {one.name}, address: "127.0.0.1:{one.port}"}}' for one in endpoints]
    path = folder / "lb.yaml"
    path.write_text(
        CONFIG.format(folder=folder, port=port, admin_port=admin_port, endpoints="\n".join(members))
    )
    return path


def what_to_try(folder: Path, endpoints: list[DemoEndpoint], port: int, admin_port: int) -> str:
    from lb.cli.demo_endpoint import AGAIN_AFTER_S

    return WHAT_TO_TRY.format(
        lb=our_name(),
        folder=folder,
        port=port,
        admin_port=admin_port,
        again=AGAIN_AFTER_S,
        kills="\n".join(f"  kill {one.pid}    # {one.name}" for one in endpoints),
    )


def our_name() -> str:
    """What to type to run lb, where the reader is."""
    if shutil.which("lb"):
        return "lb"
    script = Path(sys.argv[0])
    return f"{sys.executable} -m lb" if script.name == "__main__.py" else str(script)


def free_ports(count: int) -> list[int]:
    """Ports nobody uses now. All are held until the last is found, so they differ."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports
