"""Entries of the lists that say who may come in, and what they are together: a lb.model Networks."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from lb.config.leaf import Leaf, matching
from lb.config.problem import NOT_YET, QUOTED_MAX, BadValue, quoted, shown
from lb.model.address import UNIX_PREFIX
from lb.model.networks import Networks, merged, parse_network

MAPPED_BITS = 96  # of ::ffff:0:0/96, before the IPv4 address


class Member(NamedTuple):
    """Addresses of one family, first and last as integers. Family 0: peers on unix sockets."""

    family: int
    first: int = 0
    last: int = 0


@dataclass(frozen=True)
class Network(Leaf):
    """An entry of a list: a CIDR, an address, or `unix:`."""

    def read(self, value: object) -> Member:
        if isinstance(value, str):
            return read_member(value)
        raise BadValue(
            f"{quoted(value)} is not a network", "write it as ADDRESS/BITS, for example 10.0.0.0/8"
        )

    def json(self) -> dict[str, Any]:
        return matching("[0-9A-Fa-f:.]+(/[0-9.]+)?|unix:")

    def range(self) -> str:
        return "ADDRESS/BITS, ADDRESS, or unix:"


def gathered(members: Iterable[Member]) -> Networks:
    v4, v6, unix = list[tuple[int, int]](), list[tuple[int, int]](), False
    for member in members:
        if member.family == 4:
            v4.append((member.first, member.last))
        elif member.family == 6:
            v6.append((member.first, member.last))
        else:
            unix = True
    return Networks(merged(v4), merged(v6), unix)


def read_member(text: str) -> Member:
    """Raises BadValue, also for what no client can ever be in."""
    if text == UNIX_PREFIX:
        return Member(0)
    try:
        network = parse_network(text)
    except ValueError as error:
        raise BadValue(shown(str(error), 2 * QUOTED_MAX), hint_for(text)) from None
    first = network.network_address
    if isinstance(first, ipaddress.IPv6Address):
        if first.scope_id:
            raise BadValue(f"{quoted(text)}: an address with an interface (%{first.scope_id}) {NOT_YET}")
        if first.ipv4_mapped and network.prefixlen >= MAPPED_BITS:
            meant = f"{first.ipv4_mapped}/{network.prefixlen - MAPPED_BITS}"
            raise BadValue(f"{quoted(text)} is IPv4 in IPv6", f"write {meant} instead")
    return Member(network.version, int(first), int(network.broadcast_address))


def hint_for(text: str) -> str | None:
    if text.startswith(UNIX_PREFIX):
        return f"`{UNIX_PREFIX}` alone stands for every peer on a unix socket"
    if ";" in text:
        return "a comment begins with #"
    if len(text.split()) > 1 or "," in text:
        return "each network is an entry of its own"
    return None
