"""Sets of addresses, as lists of CIDR say them: kept as disjoint ranges in order, so that looking one up is a
binary search however many there are."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from lb.model.address import UNIX_PREFIX

Range = tuple[int, int]  # first and last address, as integers; both belong to it


@dataclass(frozen=True, slots=True)
class Networks:
    """`v4` and `v6` are sorted and neither overlap nor touch. `unix`: peers on unix sockets belong to it."""

    v4: tuple[Range, ...] = ()
    v6: tuple[Range, ...] = ()
    unix: bool = False

    @classmethod
    def parse(cls, texts: Iterable[str]) -> Networks:
        """Each is a CIDR (`10.0.0.0/8`), a single address, or `unix:`.

        Raises ValueError, whose text names the one that is wrong.
        """
        v4: list[Range] = []
        v6: list[Range] = []
        unix = False
        for text in texts:
            if text == UNIX_PREFIX:
                unix = True
                continue
            network = parse_network(text)
            span = int(network.network_address), int(network.broadcast_address)
            (v4 if network.version == 4 else v6).append(span)
        return cls(merged(v4), merged(v6), unix)


def parse_network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Raises ValueError: bits beyond the prefix are a mistake, not a detail."""
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a network; write it as ADDRESS/BITS, for example 10.0.0.0/8"
        ) from None
    raise ValueError(f"{text!r} has bits beyond its prefix; write {meant}")


def merged(ranges: list[Range]) -> tuple[Range, ...]:
    out: list[Range] = []
    for first, last in sorted(ranges):
        if out and first <= out[-1][1] + 1:
            out[-1] = (out[-1][0], max(out[-1][1], last))
        else:
            out.append((first, last))
    return tuple(out)
