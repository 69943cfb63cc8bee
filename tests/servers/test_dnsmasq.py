"""A name server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lb.model.check import Datagram, DnsQuery, ProbeResult
from tests.support.probing import judged_when_hung, probed
from tests.support.servers import Server, dnsmasq

QUERY = DnsQuery("app.test", answer="^10[.]1[.]")
# The question for app.test, as it goes over the wire.
ASKED = bytes.fromhex("abcd01000001000000000000") + b"\x03app\x04test\0\0\x01\0\x01"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    options = ["--address=/app.test/10.1.2.3", "--txt-record=t.test,hello", "--local=/test/"]
    options += ["--srv-host=_app._tcp.test,app.test,80,1,2"]
    with dnsmasq(tmp_path, *options) as made:
        yield made


def test_answer_is_shown(server: Server) -> None:
    assert probed(QUERY, server.address) == ProbeResult(True, "A 10.1.2.3")
    assert probed(DnsQuery("t.test", "TXT"), server.address) == ProbeResult(True, 'TXT "hello"')
    assert probed(DnsQuery("_app._tcp.test", "SRV"), server.address).detail == "SRV 1 2 80 app.test."


def test_name_that_is_not_there_fails(server: Server) -> None:
    result = probed(DnsQuery("gone.test"), server.address)
    assert not result.ok
    assert "NXDOMAIN" in result.detail, result.detail


def test_other_answer_fails(server: Server) -> None:
    result = probed(DnsQuery("app.test", answer="^10[.]2[.]"), server.address)
    assert result == ProbeResult(False, "no A record that matches /^10[.]2[.]/ in the answer")


def test_datagram_has_a_reply(server: Server) -> None:
    assert probed(Datagram(ASKED, reply=r"\x0a\x01\x02\x03"), server.address).ok


def test_server_that_hangs_or_is_gone_fails(server: Server) -> None:
    result = judged_when_hung(QUERY, server.process, server.address)
    assert result == ProbeResult(False, "timeout after 0.5 s (no answer)")
    server.process.end()
    result = probed(QUERY, server.address)
    assert (result.ok, result.detail) == (False, "answer: refused")
