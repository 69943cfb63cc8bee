"""The PROXY protocol: how one proxy tells the next who the client is."""

from __future__ import annotations

from enum import Enum


class ProxyVersion(Enum):
    """V1 is a line of text, V2 is binary and carries more."""

    V1 = "v1"
    V2 = "v2"

    @property
    def own_header(self) -> bytes:
        """For a connection that a proxy makes on its own account, as a probe is: it names no client. That is
        LOCAL in version 2; version 1 has only UNKNOWN."""
        return b"PROXY UNKNOWN\r\n" if self is ProxyVersion.V1 else b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
