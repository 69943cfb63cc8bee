"""The health protocol of gRPC, with a server made of h2 that answers as a test says."""

from __future__ import annotations

import socket
from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import pytest

from lb.model.check import Check, GrpcHealth, ProbeResult, TlsRule
from lb.shell.probe import TimedOut, run_probe
from tests.support.certificates import Certificates, over_tls
from tests.support.probing import Run
from tests.support.scripted import Script, scripted

CHECK = Check(GrpcHealth(), timeout_s=2.0)
HEADERS = ((":status", "200"), ("content-type", "application/grpc"))
OK = (("grpc-status", "0"),)

Answer = Callable[[h2.connection.H2Connection, int], None]


def serving(status: int) -> Answer:
    return answer(bytes([0, 0, 0, 0, 2, 8, status]) if status else bytes(5))


def answer(
    body: bytes, headers: tuple[tuple[str, str], ...] = HEADERS, trailers: tuple[tuple[str, str], ...] = OK
) -> Answer:
    def send(http: h2.connection.H2Connection, stream: int) -> None:
        http.send_headers(stream, headers)
        if body:
            http.send_data(stream, body)
        http.send_headers(stream, trailers, end_stream=True)

    return send


def then_goodbye(send: Answer) -> Answer:
    """As servers say it that bound the requests of a connection."""

    def both(http: h2.connection.H2Connection, stream: int) -> None:
        send(http, stream)
        http.close_connection()

    return both


def server(send: Answer, asked: list[tuple[dict[str, str], bytes]] | None = None) -> Script:
    def script(connection: socket.socket) -> None:
        http = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        http.initiate_connection()
        headers, body = {}, b""
        while True:
            connection.sendall(http.data_to_send())
            chunk = connection.recv(65_536)
            if not chunk:
                return
            try:
                events = http.receive_data(chunk)
            except h2.exceptions.ProtocolError:
                return  # it has closed HTTP/2, and what was on its way comes now
            for event in events:
                if isinstance(event, h2.events.RequestReceived):
                    headers = dict(event.headers)
                elif isinstance(event, h2.events.DataReceived):
                    body += event.data
                elif isinstance(event, h2.events.StreamEnded):
                    if asked is not None:
                        asked.append((headers, body))
                    send(http, event.stream_id)
                elif isinstance(event, h2.events.ConnectionTerminated):
                    return

    return script


@pytest.mark.parametrize(
    ("send", "ok", "detail"),
    [
        (serving(1), True, "SERVING"),
        (serving(2), False, "answered NOT_SERVING"),
        (serving(3), False, "answered SERVICE_UNKNOWN"),
        (serving(0), False, "answered UNKNOWN"),
        (
            answer(b"", trailers=(("grpc-status", "5"), ("grpc-message", "unknown service x"))),
            False,
            "answered NOT_FOUND: unknown service x",
        ),
        (answer(b"", trailers=(("grpc-status", "12"),)), False, "answered UNIMPLEMENTED"),
        (answer(b"", trailers=(("grpc-status", "99"),)), False, "answered gRPC status 99"),
        (answer(b"", trailers=(("grpc-status", "9" * 5000),)), False, f"answered gRPC status {'9' * 60}"),
        (then_goodbye(serving(1)), True, "SERVING"),
        (answer(b"", headers=((":status", "404"),)), False, "not gRPC: answered HTTP 404"),
        (answer(b"junk"), False, "not gRPC: junk"),
        (answer(b"x" * 2000), False, "not gRPC: a body of more than 1024 bytes"),
        (lambda http, stream: http.reset_stream(stream, 7), False, "closed by HTTP/2: REFUSED_STREAM"),
        (lambda http, stream: http.close_connection(11), False, "closed by HTTP/2: ENHANCE_YOUR_CALM"),
    ],
)
def test_status_decides(run: Run, send: Answer, ok: bool, detail: str) -> None:
    with scripted(server(send)) as endpoint:
        assert run(run_probe(CHECK, endpoint.address)) == ProbeResult(ok, detail)
        assert endpoint.ended(1) == ["fin"]


def test_request_names_the_service_and_the_host(run: Run) -> None:
    asked: list[tuple[dict[str, str], bytes]] = []
    check = Check(GrpcHealth("shop.Cart", "cart.internal"), timeout_s=2.0)
    with scripted(server(serving(1), asked)) as endpoint:
        assert run(run_probe(check, endpoint.address)).ok
    [(headers, body)] = asked
    assert headers[":path"] == "/grpc.health.v1.Health/Check"
    assert (headers[":authority"], headers[":scheme"]) == ("cart.internal", "http")
    assert body == b"\0\0\0\0\x0b\x0a\x09shop.Cart"


def test_over_tls_with_the_protocol_agreed_on(run: Run, certificates: Certificates) -> None:
    asked: list[tuple[dict[str, str], bytes]] = []
    context = certificates.context("app", alpn=("h2",))
    with scripted(over_tls(context, server(serving(1), asked))) as endpoint:
        check = Check(GrpcHealth(), TlsRule(alpn=("h2",)), timeout_s=2.0)
        assert run(run_probe(check, endpoint.address)) == ProbeResult(True, "SERVING")
        assert endpoint.ended(1) == ["fin"]
    assert asked[0][0][":scheme"] == "https"


def test_what_speaks_no_http_2_fails_and_silence_times_out(run: Run) -> None:
    with scripted(lambda connection: connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as endpoint:
        result = run(run_probe(CHECK, endpoint.address))
        assert (result.ok, result.detail[:28]) == (False, "not HTTP/2: HTTP/1.1 400 Bad")
    with scripted(lambda connection: None) as endpoint:
        result = run(run_probe(Check(GrpcHealth(), timeout_s=0.2), endpoint.address))
        assert result == TimedOut(False, "timeout after 0.2 s (connected, no answer)")
    with scripted(lambda connection: connection.shutdown(socket.SHUT_WR)) as endpoint:
        assert run(run_probe(CHECK, endpoint.address)) == ProbeResult(False, "closed without an answer")
