"""The PROXY protocol: how one proxy tells the next who the client is."""

from __future__ import annotations

from enum import Enum


class ProxyVersion(Enum):
    """V1 is a line of text, V2 is binary and carries more."""

    V1 = "v1"
    V2 = "v2"
