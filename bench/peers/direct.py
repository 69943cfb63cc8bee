"""No proxy: what client and endpoint, both on the load's CPU, reach by themselves: the load's ceiling."""

from __future__ import annotations

from bench.peers.peer import Peer

PEER = Peer("direct", None, lambda: "no proxy", processes_min=0)
