"""SMTP: greeted, EHLO, QUIT."""

from __future__ import annotations

import socket

import pytest

from lb.model.check import Check, ProbeResult, SmtpGreeting
from lb.shell.probe import run_probe
from tests.support.probing import Run
from tests.support.scripted import scripted

CHECK = Check(SmtpGreeting("lb.example"), timeout_s=2.0)


def test_server_that_greets_passes_and_is_left_by_quit(run: Run) -> None:
    heard: list[bytes] = []

    def script(connection: socket.socket) -> None:
        connection.sendall(b"220-mail.example ESMTP\r\n220 ready\r\n")
        for reply in (b"250-mail.example\r\n250-SIZE\r\n250 HELP\r\n", b"221 2.0.0 Bye\r\n"):
            line = b""
            while not line.endswith(b"\r\n"):
                line += connection.recv(100)
            heard.append(line)
            connection.sendall(reply)
        connection.shutdown(socket.SHUT_WR)

    with scripted(script) as endpoint:
        assert run(run_probe(CHECK, endpoint.address)) == ProbeResult(True, "220 ready")
        assert endpoint.ended(1) == ["fin"]
    assert heard == [b"EHLO lb.example\r\n", b"QUIT\r\n"]


@pytest.mark.parametrize(
    ("said", "detail"),
    [
        (b"554 no service\r\n", "answered 554 no service"),
        (b"220 ready\r\n502 what?\r\n", "answered 502 what?"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "not SMTP: SSH-2.0-OpenSSH_9.6"),
        (b"220 rea", "closed amid a line: 220 rea"),
        (b"", "closed without an answer"),
        (b"220-more\r\n" * 200, "a reply of more than 100 lines"),
        (b"2" * 20_000, f"no end of line in 16384 bytes: {'2' * 60}"),
    ],
)
def test_another_answer_fails_and_is_quoted(run: Run, said: bytes, detail: str) -> None:
    def script(connection: socket.socket) -> None:
        connection.sendall(said)
        connection.shutdown(socket.SHUT_WR)

    with scripted(script) as endpoint:
        assert run(run_probe(CHECK, endpoint.address)) == ProbeResult(False, detail)
