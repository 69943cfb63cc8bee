"""The proxies that are compared, one per file: its configuration, and the words that start it.

Fair means here: one thread that carries traffic, the same endpoint, backlog 4096, room for 7000
sessions, connect timeout 1.2 s, idle timeout 10 min, TCP_NODELAY on both sides, no logging, no checks.
Whatever else they do is their own default: lb turns TCP keepalive on for both sides, the others do not.
"""

from __future__ import annotations

from bench.peers import direct, envoy, floor, haproxy, lb, nginx
from bench.peers.peer import Peer, Route

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        lb.PEER,
        haproxy.PEER,
        haproxy.PEER_SPLICE,
        nginx.PEER,
        envoy.PEER,
        floor.PEER,
        direct.PEER,
    )
}

__all__ = ["PEERS", "Peer", "Route"]
