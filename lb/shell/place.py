"""Where a listening group is: what tells two groups apart, whatever their listeners are called."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from lb.model.address import Address, SocketAddress
from lb.model.listener import Listener


class Place(NamedTuple):
    """`owner` is empty, but for port 0, which says nothing about where it is. A path is the same in every
    network namespace, and no interface leads to it."""

    address: SocketAddress
    owner: str = ""
    netns: str | None = None
    interface: str | None = None


PortOf = tuple[str | None, bool, int]  # namespace, whether IPv6, port


def places(listeners: Sequence[Listener]) -> Iterator[tuple[Place, Listener]]:
    for listener in listeners:
        tcp = listener.tcp
        for ordinal, address in enumerate(listener.binds):
            if isinstance(address, Address):
                owner = "" if address.port else f"{listener.name}#{ordinal}"
                yield Place(address, owner, tcp.netns, tcp.interface), listener
            else:
                yield Place(address), listener


def port_of(place: Place) -> PortOf:
    """Places with different ones never overlap."""
    address = place.address
    if isinstance(address, Address):
        return place.netns, address.is_ipv6, address.port
    return None, False, 0


def overlap(one: Place, other: Place) -> bool:
    """Whether some client's packets could be meant for either of two places of the same port."""
    first, second = one.address, other.address
    if not isinstance(first, Address) or not isinstance(second, Address):
        return False
    same_host = first.host == second.host or first.is_wildcard or second.is_wildcard
    same_interface = one.interface == other.interface or None in (one.interface, other.interface)
    return same_host and same_interface and port_of(one) == port_of(other)
