"""HAProxy in TCP mode, in two entries: copying, and with `option splice-auto`.

It logs to standard output, which is a file here: one write per line. Its usual way, datagrams to a syslog,
costs it more, and somebody else as well.
"""

from __future__ import annotations

from collections.abc import Callable

from bench.peers import program
from bench.peers.peer import BACKLOG, CONNECT_TIMEOUT_MS, IDLE_TIMEOUT_S, SESSIONS_MAX, Peer, Setup
from bench.process import PROXY_OUTPUT

SPLICING_SESSIONS_MAX = 2000  # it counts 2.5 descriptors for each
CONFIG = """\
global
    nbthread 1
    maxconn {sessions_max}
    {log}
defaults
    mode tcp
    timeout connect {connect_ms}ms
    timeout client {idle_s}s
    timeout server {idle_s}s
    {splice}
    {log_format}
"""
LISTEN = """\
listen {route.name}
    bind 127.0.0.1:{route.port} backlog {backlog}
    server a 127.0.0.1:{route.endpoint_port}
"""
LOG = "log stdout format raw local0"
LOG_FORMAT = """log global
    log-format '{"time":"%t","listener":"%f","pool":"%b","endpoint":"%s","client":"%ci:%cp",\
"local":"%fi:%fp","upstream":"%bi:%bp","address":"%si:%sp","attempts":"%rc","queue_ms":%Tw,"connect_ms":%Tc,"duration_ms":%Tt,\
"bytes_in":%U,"bytes_out":%B,"reason":"%ts","worker":%pid}'"""


def command(splice: bool) -> Callable[[Setup], list[str]]:
    def write(setup: Setup) -> list[str]:
        text = CONFIG.format(
            sessions_max=SPLICING_SESSIONS_MAX if splice else SESSIONS_MAX,
            connect_ms=CONNECT_TIMEOUT_MS,
            idle_s=IDLE_TIMEOUT_S,
            splice="option splice-auto" if splice else "",
            log=LOG if setup.logged else "",
            log_format=LOG_FORMAT if setup.logged else "",
        )
        text += "".join(LISTEN.format(route=route, backlog=BACKLOG) for route in setup.routes)
        path = setup.folder / "haproxy.cfg"
        path.write_text(text)
        return [program.find("haproxy") or "haproxy", "-db", "-f", str(path)]

    return write


def version() -> str | None:
    found = program.find("haproxy")
    return program.first_line([found, "-v"]) if found else None


PEER = Peer("haproxy", command(splice=False), version, log_name=PROXY_OUTPUT)
PEER_SPLICE = Peer(
    "haproxy-splice", command(splice=True), version, only=("bulk-1", "bulk-4"), log_name=PROXY_OUTPUT
)
