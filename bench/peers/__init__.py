"""The proxies that are compared, one per file: its configuration, and the words that start it.

Fair means here: one thread that carries traffic, the same endpoint, backlog 4096, room for 9200 sessions,
connect timeout 1.2 s, idle timeout 10 min, TCP_NODELAY on both sides, no checks. The access log is off for
all, or on for all: a line per session with the fields of lb's record, as far as each has them, to a file in
memory. Whatever else they do is their own default: lb turns TCP keepalive on for both sides, the others do
not.
"""

from __future__ import annotations

from pathlib import Path

from bench.peers import direct, envoy, floor, haproxy, lb, nginx
from bench.peers.peer import Peer, Route, Setup

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        lb.PEER,
        haproxy.PEER,
        haproxy.PEER_SPLICE,
        nginx.PEER,
        nginx.PEER_BUFFERED,
        envoy.PEER,
        floor.PEER,
        direct.PEER,
    )
}


def find(wish: str) -> Peer | None:
    """A peer by its name; `lb=CHECKOUT` is lb as it was built in another checkout."""
    kind, _, checkout = wish.partition("=")
    if checkout and kind == "lb":
        return lb.peer(wish, Path(checkout).resolve())
    return PEERS.get(wish)


__all__ = ["PEERS", "Peer", "Route", "Setup", "find"]
