"""A datagram there and one back: replies, wrong ones, none, and a closed port."""

from __future__ import annotations

import pytest

from lb.model.address import Address, UnixAddress
from lb.model.check import Check, Datagram, ProbeResult
from lb.shell.probe import TimedOut, run_probe
from tests.support.ports import free_port
from tests.support.probing import Run
from tests.support.scripted_datagrams import scripted_datagrams


def check(payload: bytes = b"ping", reply: str | None = None, timeout_s: float = 2.0) -> Check:
    return Check(Datagram(payload, reply), timeout_s=timeout_s)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_any_reply_passes_and_is_quoted(run: Run, host: str) -> None:
    with scripted_datagrams(lambda data: [data.upper() + b"\0"], host) as address:
        assert run(run_probe(check(), address)) == ProbeResult(True, r"5 bytes: PING\x00")


@pytest.mark.parametrize("payload", [b"", b"x" * 65_507])
def test_datagram_of_any_size_is_sent_whole(run: Run, payload: bytes) -> None:
    with scripted_datagrams(lambda data: [b"%d" % len(data)]) as address:
        result = run(run_probe(check(payload, reply="^[0-9]+$"), address))
    assert result == ProbeResult(True, str(len(payload)))


def test_reply_of_no_bytes_is_a_reply(run: Run) -> None:
    with scripted_datagrams(lambda data: [b""]) as address:
        assert run(run_probe(check(), address)) == ProbeResult(True, "0 bytes")


def test_reply_that_does_not_match_fails_and_is_quoted(run: Run) -> None:
    with scripted_datagrams(lambda data: [b"\xffbusy"]) as address:
        result = run(run_probe(check(reply="^ready"), address))
    assert result == ProbeResult(False, r"no match of /^ready/ in 5 bytes: \xffbusy")


def test_no_reply_times_out(run: Run) -> None:
    with scripted_datagrams(lambda data: []) as address:
        result = run(run_probe(check(timeout_s=0.2), address))
    assert result == TimedOut(False, "timeout after 0.2 s (no answer)")


def test_closed_port_is_refused_at_once(run: Run) -> None:
    result = run(run_probe(check(), Address("127.0.0.1", free_port())))
    assert result == ProbeResult(False, "answer: refused")


def test_unix_socket_is_not_asked(run: Run) -> None:
    result = run(run_probe(check(), UnixAddress("/run/app.sock")))
    assert result == ProbeResult(False, "a unix socket is not asked by datagrams")
