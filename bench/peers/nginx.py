"""nginx with the stream module: a master and one worker, both counted.

Two entries where sessions end at a rate: the access log as it is by default, a write per line, and with a
buffer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bench.peers import program
from bench.peers.peer import BACKLOG, CONNECT_TIMEOUT_MS, IDLE_TIMEOUT_S, SESSIONS_MAX, Peer, Setup

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
    {log}
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
LOG_FORMAT = """log_format session escape=json '{"time":"$time_iso8601","protocol":"$protocol",'
        '"client":"$remote_addr:$remote_port","local":"$server_addr:$server_port","upstream":"$upstream_addr",'
        '"connect_s":"$upstream_connect_time","first_byte_s":"$upstream_first_byte_time",'
        '"duration_s":$session_time,"bytes_in":$bytes_received,"bytes_out":$bytes_sent,"reason":$status,'
        '"worker":$pid}';
    """
BUFFER = " buffer=64k flush=500ms"


def command(buffer: str) -> Callable[[Setup], list[str]]:
    def write(setup: Setup) -> list[str]:
        path = setup.folder / "nginx.conf"
        log = f"{LOG_FORMAT}access_log {setup.access_log} session{buffer};"
        path.write_text(
            CONFIG.format(
                load_module=f"load_module {MODULE};" if MODULE.exists() else "",
                user="user root;" if os.geteuid() == 0 else "",
                descriptors=2 * SESSIONS_MAX + 1000,
                connections=2 * SESSIONS_MAX + 100,
                folder=setup.folder,
                log=log if setup.logged else "access_log off;",
                connect_ms=CONNECT_TIMEOUT_MS,
                idle_s=IDLE_TIMEOUT_S,
                servers="".join(SERVER.format(route=route, backlog=BACKLOG) for route in setup.routes),
            )
        )
        return [program.find("nginx") or "nginx", "-p", str(setup.folder), "-c", str(path), "-e", "stderr"]

    return write


def version() -> str | None:
    found = program.find("nginx")
    return program.first_line([found, "-v"]) if found else None


PEER = Peer("nginx", command(""), version, processes_min=2, relays="nginx: worker process")
PEER_BUFFERED = Peer(
    "nginx-buffered",
    command(BUFFER),
    version,
    processes_min=2,
    relays="nginx: worker process",
    only=("connect",),
    only_logged=True,
)
