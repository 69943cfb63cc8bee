"""lb: a supervisor and one worker, both on the proxy's CPU and both counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bench.peers import program
from bench.peers.peer import Peer, Route
from bench.process import free_port

CONFIG = """\
workers: 1
runtime_dir: {folder}/run
admin: {{bind: "127.0.0.1:{admin_port}", socket: {folder}/admin.sock}}
log: {{access: off}}
listeners:
{listeners}pools:
{pools}"""
LISTENER = '  {route.name}: {{bind: "127.0.0.1:{route.port}", pool: {route.name}}}\n'
POOL = '  {route.name}: {{endpoints: ["127.0.0.1:{route.endpoint_port}"]}}\n'


def command(routes: Sequence[Route], folder: Path) -> list[str]:
    (folder / "run").mkdir(exist_ok=True)
    path = folder / "lb.yaml"
    path.write_text(
        CONFIG.format(
            folder=folder,
            admin_port=free_port(),
            listeners="".join(LISTENER.format(route=route) for route in routes),
            pools="".join(POOL.format(route=route) for route in routes),
        )
    )
    return [program.find("lb") or "lb", "run", "-c", str(path)]


def version() -> str | None:
    """The installed distribution's version, as the interpreter beside `lb` knows it."""
    found = program.find("lb")
    if found is None:
        return None
    ask = "import importlib.metadata as m, json; print(json.dumps(m.version('lb4')))"
    line = program.first_line([str(Path(found).parent / "python"), "-c", ask])
    return f"lb {json.loads(line)}" if line else "lb (version unknown)"


PEER = Peer("lb", command, version, processes_min=2)
