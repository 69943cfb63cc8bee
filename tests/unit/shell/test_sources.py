"""Hosts to connect from that this machine has not are told, each with its pool."""

from __future__ import annotations

from lb.model.config import Config
from lb.model.pool import ConnectRule, Pool
from lb.shell.sources import absent_sources


def test_absent_sources_are_named_with_their_pool() -> None:
    pools = [
        Pool(name, (), connect=ConnectRule(source=sources))
        for name, sources in (("web", ("127.0.0.1", "192.0.2.7", "2001:db8::7")), ("api", ("127.0.0.2",)))
    ]
    found = list(absent_sources(Config(listeners=(), pools=tuple(pools))))
    assert found == [
        f"pools.web.connect.source: this machine has no address {host}, "
        "and cannot connect from it: see `ip address`"
        for host in ("192.0.2.7", "2001:db8::7")
    ]
