"""A dialog, step by step, with endpoints that answer well, badly, in pieces, or not at all."""

from __future__ import annotations

import socket

import pytest

from lb.model.check import Check, Dialog, Expect, ExpectPattern, ProbeResult, Send, Step
from lb.shell.probe import TimedOut, run_probe
from tests.support.probing import Run
from tests.support.scripted import scripted


def dialog(*steps: Step, timeout_s: float = 2.0) -> Check:
    return Check(Dialog(steps), timeout_s=timeout_s)


def redis(connection: socket.socket) -> None:
    """Answers PING; what it says comes byte by byte."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert connection.recv(6, socket.MSG_WAITALL) == b"PING\r\n"
    for byte in b"+PONG\r\n":
        connection.sendall(bytes([byte]))


def test_answer_in_pieces_passes_and_is_the_detail(run: Run) -> None:
    with scripted(redis) as endpoint:
        check = dialog(Send(b"PING\r\n"), Expect(b"+PONG\r\n"))
        assert run(run_probe(check, endpoint.address)) == ProbeResult(True, r"+PONG\r\n")
        assert endpoint.ended(1) == ["fin"]


def test_step_goes_on_behind_what_the_one_before_has_found(run: Run) -> None:
    greeting = b"220 mail ESMTP\r\n250-mail\r\n250 OK\r\n"
    with scripted(lambda connection: connection.sendall(greeting)) as endpoint:
        passed = dialog(Expect(b"220 "), Send(b"EHLO lb\r\n"), ExpectPattern("(?m)^250 (OK)"))
        assert run(run_probe(passed, endpoint.address)) == ProbeResult(True, "250 OK")
        again = dialog(Expect(b"250 OK"), Expect(b"220 "), timeout_s=0.2)
        assert isinstance(run(run_probe(again, endpoint.address)), TimedOut)


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"", r"step 2: closed before +PONG; got nothing"),
        (b"-LOADING\r\n", r"step 2: closed before +PONG; got -LOADING\r\n"),
        (b"x" * 20_000, f"step 2: not +PONG in 16384 bytes; got {'x' * 60}"),
    ],
)
def test_other_answer_fails_and_is_quoted(run: Run, said: bytes, detail: str) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(4, socket.MSG_WAITALL)
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)

    with scripted(script) as endpoint:
        check = dialog(Send(b"PING"), Expect(b"+PONG"))
        assert run(run_probe(check, endpoint.address)) == ProbeResult(False, detail)
        assert endpoint.ended(1) == ["fin"]


def test_silent_endpoint_times_out(run: Run) -> None:
    with scripted(lambda connection: None) as endpoint:
        result = run(run_probe(dialog(Expect(b"220"), timeout_s=0.2), endpoint.address))
    assert result == TimedOut(False, "timeout after 0.2 s (connected, no answer)")


def test_bytes_beyond_ascii_are_matched_by_what_they_are_in_utf_8(run: Run) -> None:
    with scripted(lambda connection: connection.sendall("\xff bereit für Anfragen".encode())) as endpoint:
        check = dialog(ExpectPattern("für|pour"))
        assert run(run_probe(check, endpoint.address)) == ProbeResult(True, r"f\xc3\xbcr")


def test_dialog_that_only_speaks_passes_once_it_is_sent(run: Run) -> None:
    with scripted(lambda connection: None) as endpoint:
        assert run(run_probe(dialog(Send(b"x" * 4096)), endpoint.address)) == ProbeResult(True, "sent")
        assert sum(map(len, endpoint.heard(1))) == 4096
