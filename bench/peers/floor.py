"""The floor: the bare relay of bench/load/relay.pyx, as one more peer, for scale."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from bench.peers.peer import Peer, Route


def command(routes: Sequence[Route], folder: Path) -> list[str]:
    (route,) = routes
    ports = ["--port", str(route.port), "--to", str(route.endpoint_port)]
    return [sys.executable, "-m", "bench.load", "relay", *ports]


PEER = Peer("floor", command, lambda: "bare relay (edge-triggered epoll, recv and send)")
