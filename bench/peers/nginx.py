"""nginx with the stream module: a master and one worker, both counted."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bench.peers import program
from bench.peers.peer import BACKLOG, CONNECT_TIMEOUT_MS, IDLE_TIMEOUT_S, SESSIONS_MAX, Peer, Route

MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
CONFIG = """\
{load_module}
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile {descriptors};
pid {folder}/nginx.pid;
error_log stderr emerg;
events {{ worker_connections {connections}; }}
stream {{
    access_log off;
    proxy_connect_timeout {connect_ms}ms;
    proxy_timeout {idle_s}s;
    tcp_nodelay on;
{servers}}}
"""
SERVER = """\
    server {{
        listen 127.0.0.1:{route.port} backlog={backlog};
        proxy_pass 127.0.0.1:{route.endpoint_port};
    }}
"""


def command(routes: Sequence[Route], folder: Path) -> list[str]:
    path = folder / "nginx.conf"
    path.write_text(
        CONFIG.format(
            load_module=f"load_module {MODULE};" if MODULE.exists() else "",
            user="user root;" if os.geteuid() == 0 else "",
            descriptors=2 * SESSIONS_MAX + 1000,
            connections=2 * SESSIONS_MAX + 100,
            folder=folder,
            connect_ms=CONNECT_TIMEOUT_MS,
            idle_s=IDLE_TIMEOUT_S,
            servers="".join(SERVER.format(route=route, backlog=BACKLOG) for route in routes),
        )
    )
    return [program.find("nginx") or "nginx", "-p", str(folder), "-c", str(path), "-e", "stderr"]


def version() -> str | None:
    found = program.find("nginx")
    return program.first_line([found, "-v"]) if found else None


PEER = Peer("nginx", command, version, processes_min=2)
