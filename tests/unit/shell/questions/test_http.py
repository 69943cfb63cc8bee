"""An HTTP request: what is written, and how the body of the answer is judged."""

from __future__ import annotations

import socket

import pytest

from lb.model.address import Address
from lb.model.check import Check, HttpRequest, ProbeResult
from lb.shell.probe import TimedOut, run_probe
from lb.shell.questions.http import request
from tests.support.probing import Run
from tests.support.scripted import Script, scripted

UP = Check(HttpRequest(body="^(up|ready)$"), timeout_s=2.0)
HEAD = b"HTTP/1.1 200 OK\r\n"


def answering(*pieces: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += connection.recv(65536)
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)

    return script


def test_request_names_the_host_and_length_that_it_was_given() -> None:
    text = request(HttpRequest(method="POST", host="app.internal"), Address("::1", 80)).decode()
    assert "\r\nHost: app.internal\r\n" in text
    assert "\r\nUser-Agent: lb-check\r\n" in text
    assert "\r\nContent-Length: 0\r\n" in text


@pytest.mark.parametrize(
    ("answer", "ok", "detail"),
    [
        (HEAD + b"Content-Length: 2\r\n\r\nup", True, "200 OK"),
        (HEAD + b"\r\nready", True, "200 OK"),  # its end is that of the connection
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nu\r\n1\r\np\r\n0\r\n\r\n", True, "200 OK"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" + HEAD + b"\r\nup", True, "200 OK"),
        (HEAD + b"\r\nupset", False, "no match of /^(up|ready)$/ in 5 bytes of the body: upset"),
        (HEAD + b"Content-Length: 0\r\n\r\n", False, "no match of /^(up|ready)$/ in an empty body"),
        (HEAD + b"\r\n", False, "no match of /^(up|ready)$/ in an empty body"),
        (HEAD + b"X-State: up\r\n", False, "not HTTP: peer unexpectedly closed connection"),
        (HEAD + b"no header\r\n\r\nup", False, "not HTTP: illegal header line"),
        (b"HTTP/1.1 500 Oops\r\n\r\nup", False, "answered 500, expected 200-399"),
    ],
)
def test_body_is_judged_however_it_is_sent(run: Run, answer: bytes, ok: bool, detail: str) -> None:
    for pieces in ([answer], [bytes([byte]) for byte in answer]):
        with scripted(answering(*pieces)) as endpoint:
            assert run(run_probe(UP, endpoint.address)) == ProbeResult(ok, detail)
            assert endpoint.ended(1) == ["fin"]


def test_pattern_is_found_before_the_body_has_ended(run: Run) -> None:
    """The answer stays open, as of an endpoint that streams."""

    def script(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(HEAD + b"Content-Length: 1000000\r\n\r\nstatus: up\n")

    check = Check(HttpRequest(body="status: (up|ready)"), timeout_s=2.0)
    with scripted(script) as endpoint:
        assert run(run_probe(check, endpoint.address)) == ProbeResult(True, "200 OK")


def test_body_is_read_up_to_a_bound(run: Run) -> None:
    body = b"x" * 100_000 + b"up"
    with scripted(answering(HEAD + b"\r\n" + body)) as endpoint:
        result = run(run_probe(Check(HttpRequest(body="up"), timeout_s=2.0), endpoint.address))
    size = 16_384 - len(HEAD) - 2
    assert result == ProbeResult(False, f"no match of /up/ in {size} bytes of the body: {'x' * 60}")


def test_pattern_that_would_take_ages_to_try_takes_none(run: Run) -> None:
    check = Check(HttpRequest(body="(x+x+)+y"), timeout_s=2.0)
    with scripted(answering(HEAD + b"\r\n" + b"x" * 10_000)) as endpoint:
        result = run(run_probe(check, endpoint.address))
    assert not result.ok
    assert not isinstance(result, TimedOut)
