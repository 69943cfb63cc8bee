"""DNS queries, with replies that a real server could give, and some that only an attacker would."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest

from lb.model.check import Check, DnsQuery, ProbeResult
from lb.shell.probe import TimedOut, run_probe
from tests.support.probing import Run
from tests.support.scripted_datagrams import scripted_datagrams

NAME = "example.com."


def check(query_type: str = "A", answer: str | None = None) -> Check:
    return Check(DnsQuery("example.com", query_type, answer), timeout_s=0.5)


def response(data: bytes, *records: tuple[str, str], rcode: dns.rcode.Rcode = dns.rcode.NOERROR) -> bytes:
    answer = dns.message.make_response(dns.message.from_wire(data))
    answer.set_rcode(rcode)
    for kind, text in records:
        answer.answer.append(dns.rrset.from_text(NAME, 60, "IN", kind, text))
    return answer.to_wire()


@pytest.mark.parametrize(
    ("query_type", "record", "detail"),
    [
        ("A", "192.0.2.1", "A 192.0.2.1"),
        ("AAAA", "2001:db8::1", "AAAA 2001:db8::1"),
        ("SRV", "0 5 443 a.example.com.", "SRV 0 5 443 a.example.com."),
        ("TXT", '"ready"', 'TXT "ready"'),
    ],
)
def test_answer_with_a_record_of_the_type_passes(run: Run, query_type: str, record: str, detail: str) -> None:
    with scripted_datagrams(lambda data: [response(data, (query_type, record))]) as address:
        assert run(run_probe(check(query_type), address)) == ProbeResult(True, detail)


@pytest.mark.parametrize(
    ("records", "rcode", "detail"),
    [
        ([], dns.rcode.NOERROR, "no A record in the answer"),
        ([("CNAME", "other.example.com.")], dns.rcode.NOERROR, "no A record in the answer"),
        ([], dns.rcode.NXDOMAIN, "answered NXDOMAIN"),
        ([("A", "192.0.2.1")], dns.rcode.SERVFAIL, "answered SERVFAIL"),
    ],
)
def test_answer_without_one_fails(
    run: Run, records: list[tuple[str, str]], rcode: dns.rcode.Rcode, detail: str
) -> None:
    with scripted_datagrams(lambda data: [response(data, *records, rcode=rcode)]) as address:
        assert run(run_probe(check(), address)) == ProbeResult(False, detail)


def test_one_record_must_match_the_pattern(run: Run) -> None:
    two = [("A", "192.0.2.1"), ("A", "198.51.100.7")]
    with scripted_datagrams(lambda data: [response(data, *two)]) as address:
        assert run(run_probe(check(answer="^198"), address)) == ProbeResult(True, "A 198.51.100.7")
        failed = run(run_probe(check(answer="^10"), address))
    assert failed == ProbeResult(False, "no A record that matches /^10/ in the answer")


def test_reply_to_another_query_does_not_count(run: Run) -> None:
    """Of another number, or about another name: a late reply, or one that was forged."""
    forged = response(dns.message.make_query("evil.example.com", "A").to_wire(), ("A", "192.0.2.66"))

    def replies(data: bytes) -> list[bytes]:
        other = bytes([data[0] ^ 1]) + response(data, ("A", "192.0.2.66"))[1:]
        return [other, data[:2] + forged[2:], response(data, ("A", "192.0.2.1"))]

    with scripted_datagrams(replies) as address:
        assert run(run_probe(check(), address)) == ProbeResult(True, "A 192.0.2.1")
    with scripted_datagrams(lambda data: replies(data)[:2]) as address:
        assert isinstance(run(run_probe(check(), address)), TimedOut)


def test_truncated_answer_counts_as_far_as_it_goes(run: Run) -> None:
    def truncated(data: bytes) -> list[bytes]:
        answer = dns.message.from_wire(response(data, ("A", "192.0.2.1")))
        answer.flags |= dns.flags.TC
        return [answer.to_wire()]

    with scripted_datagrams(truncated) as address:
        assert run(run_probe(check(), address)) == ProbeResult(True, "A 192.0.2.1")


@pytest.mark.parametrize("junk", [b"", b"\x00", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_what_is_not_dns_fails(run: Run, junk: bytes) -> None:
    with scripted_datagrams(lambda data: [junk]) as address:
        result = run(run_probe(check(), address))
    assert not result.ok
    assert result.detail.startswith("not DNS: "), result
