"""HAProxy in TCP mode, in two entries: copying, and with `option splice-auto`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.peers import program
from bench.peers.peer import BACKLOG, CONNECT_TIMEOUT_MS, IDLE_TIMEOUT_S, SESSIONS_MAX, Peer, Route

CONFIG = """\
global
    nbthread 1
    maxconn {sessions_max}
defaults
    mode tcp
    timeout connect {connect_ms}ms
    timeout client {idle_s}s
    timeout server {idle_s}s
    {splice}
"""
LISTEN = """\
listen {route.name}
    bind 127.0.0.1:{route.port} backlog {backlog}
    server a 127.0.0.1:{route.endpoint_port}
"""


def command(splice: str) -> Callable[[Sequence[Route], Path], list[str]]:
    def write(routes: Sequence[Route], folder: Path) -> list[str]:
        text = CONFIG.format(
            sessions_max=SESSIONS_MAX, connect_ms=CONNECT_TIMEOUT_MS, idle_s=IDLE_TIMEOUT_S, splice=splice
        )
        text += "".join(LISTEN.format(route=route, backlog=BACKLOG) for route in routes)
        path = folder / "haproxy.cfg"
        path.write_text(text)
        return [program.find("haproxy") or "haproxy", "-db", "-f", str(path)]

    return write


def version() -> str | None:
    found = program.find("haproxy")
    return program.first_line([found, "-v"]) if found else None


PEER = Peer("haproxy", command(""), version)
PEER_SPLICE = Peer("haproxy-splice", command("option splice-auto"), version, only=("bulk-1", "bulk-4"))
