"""lb: a supervisor and its workers, all counted; from this checkout, or from another beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from bench.peers import program
from bench.peers.peer import Peer, Setup
from bench.process import ROOT, free_port

CONFIG = """\
workers: {setup.workers}
runtime_dir: {setup.folder}/run
admin: {{bind: "127.0.0.1:{admin_port}", socket: {setup.folder}/admin.sock}}
log: {{access: {access}}}
listeners:
{listeners}pools:
{pools}"""
LISTENER = '  {route.name}: {{bind: "127.0.0.1:{route.port}", pool: {route.name}}}\n'
POOL = '  {route.name}: {{endpoints: ["127.0.0.1:{route.endpoint_port}"]}}\n'


def peer(name: str, checkout: Path | None = None) -> Peer:
    """Another checkout is run in its own folder: a worker imports lb from where it stands."""
    find = finder(checkout)
    return Peer(
        name,
        lambda setup: command(setup, find()),
        lambda: version(find(), checkout or ROOT),
        processes_min=2,
        relays="lb.worker",
        root=checkout or ROOT,
    )


def finder(checkout: Path | None) -> Callable[[], str | None]:
    if checkout is None:
        return lambda: program.find("lb")
    path = checkout / ".venv" / "bin" / "lb"
    return lambda: str(path) if path.exists() else None


def command(setup: Setup, lb: str | None = None) -> list[str]:
    """The file has a folder of its own, as in /etc: lb looks whenever something stirs in there."""
    for name in ("run", "etc"):
        (setup.folder / name).mkdir(exist_ok=True)
    path = setup.folder / "etc" / "lb.yaml"
    path.write_text(
        CONFIG.format(
            setup=setup,
            admin_port=free_port(),
            access=setup.access_log if setup.logged else "off",
            listeners="".join(LISTENER.format(route=route) for route in setup.routes),
            pools="".join(POOL.format(route=route) for route in setup.routes),
        )
    )
    return [lb or program.find("lb") or "lb", "run", "-c", str(path)]


def version(lb: str | None, checkout: Path) -> str | None:
    """The version that the interpreter beside `lb` knows, and the checkout's commit."""
    if lb is None:
        return None
    ask = "import importlib.metadata as m, json; print(json.dumps(m.version('lb4')))"
    line = program.first_line([str(Path(lb).parent / "python"), "-c", ask])
    commit = program.first_line(["git", "-C", str(checkout), "rev-parse", "--short=12", "HEAD"])
    return f"lb {json.loads(line) if line else '(version unknown)'}" + (
        f", commit {commit}" if commit else ""
    )


PEER = peer("lb")
