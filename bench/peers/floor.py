"""The floor: the bare relay of bench/load/relay.pyx, as one more peer, for scale. It never logs."""

from __future__ import annotations

import sys

from bench.peers.peer import Peer, Setup


def command(setup: Setup) -> list[str]:
    (route,) = setup.routes
    ports = ["--port", str(route.port), "--to", str(route.endpoint_port)]
    return [sys.executable, "-m", "bench.load", "relay", *ports]


PEER = Peer("floor", command, lambda: "bare relay (edge-triggered epoll, recv and send)", log_name=None)
