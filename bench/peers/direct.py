"""No proxy: what client and endpoint reach by themselves, the least that any latency here can be."""

from __future__ import annotations

from bench.peers.peer import Peer

PEER = Peer("direct", None, lambda: "no proxy", log_name=None)
