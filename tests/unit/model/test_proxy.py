"""The header of a proxy that comes for itself, as another implementation reads it."""

from __future__ import annotations

from proxyprotocol.result import ProxyResultLocal, ProxyResultUnknown
from proxyprotocol.v1 import ProxyProtocolV1
from proxyprotocol.v2 import ProxyProtocolV2

from lb.model.proxy import ProxyVersion


def test_own_header_of_version_1_says_unknown() -> None:
    assert isinstance(ProxyProtocolV1().unpack(ProxyVersion.V1.own_header), ProxyResultUnknown)


def test_own_header_of_version_2_says_local() -> None:
    assert isinstance(ProxyProtocolV2().unpack(ProxyVersion.V2.own_header), ProxyResultLocal)
    assert len(ProxyVersion.V2.own_header) == 16
