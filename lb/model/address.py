"""Where a socket is: an IP address and port, or a path. In canonical form: two spellings of one are equal."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

PORT_MAX = 65535
PATH_BYTES_MAX = 107  # sun_path, less its ending zero
UNIX_PREFIX = "unix:"


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """`host` is the canonical text of an IPv4 or IPv6 address; `port` is 1 to 65535 (0: any free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Address:
        """`10.0.0.1:80` or `[2001:db8::1]:80`. Raises ValueError, whose text says what to write instead."""
        host, colon, port = text.rpartition(":")
        if not colon:
            raise ValueError(f"{text!r} has no port; write it as ADDRESS:PORT, for example 10.0.0.1:80")
        if not (port.isascii() and port.isdigit()) or int(port) > PORT_MAX:
            raise ValueError(f"{port!r} is not a port; ports are 1 to {PORT_MAX}")
        bracketed = host.startswith("[") and host.endswith("]")
        if not bracketed and ":" in host:
            raise ValueError(f"write an IPv6 address in brackets: [{host}]:{port}")
        try:
            address = ipaddress.ip_address(host[1:-1] if bracketed else host)
        except ValueError:
            raise ValueError(f"{host!r} is not an IP address") from None
        if bracketed and address.version == 4:
            raise ValueError(f"brackets are for IPv6; write {host[1:-1]}:{port}")
        return cls(address.compressed, int(port))

    @property
    def is_ipv6(self) -> bool:
        return ":" in self.host

    @property
    def is_wildcard(self) -> bool:
        return self.host in ("0.0.0.0", "::")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, order=True)
class UnixAddress:
    """A unix socket by its absolute path, of PATH_BYTES_MAX bytes at most."""

    path: str

    def __str__(self) -> str:
        return f"{UNIX_PREFIX}{self.path}"


SocketAddress = Address | UnixAddress


def spans(addresses: Iterable[SocketAddress]) -> list[str]:
    """Each in a text, in their order; but successive ports of one host are told as `HOST:FIRST-LAST`."""
    runs: list[list[SocketAddress]] = []
    for address in addresses:
        if runs and follows(runs[-1][-1], address):
            runs[-1].append(address)
        else:
            runs.append([address])
    texts = [(str(run[0]), str(run[-1]).rpartition(":")[2]) for run in runs]
    return [
        f"{first}-{last}" if len(run) > 1 else first for run, (first, last) in zip(runs, texts, strict=True)
    ]


def follows(one: SocketAddress, other: SocketAddress) -> bool:
    return isinstance(one, Address) and other == Address(one.host, one.port + 1)
