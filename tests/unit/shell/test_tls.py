"""Probes over TLS: what is shown, agreed on and refused, and how they leave."""

from __future__ import annotations

import datetime
import socket
import ssl
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lb.model.check import Check, Dialog, Expect, HttpRequest, ProbeResult, Send, TlsRule
from lb.model.proxy import ProxyVersion
from lb.shell.probe import TimedOut, run_probe
from tests.support.certificates import Certificates, over_tls
from tests.support.open_fds import open_fds
from tests.support.probing import Run
from tests.support.scripted import scripted
from tests.support.waiting import eventually

TLS = Check(tls=TlsRule(), timeout_s=2.0)


def silent(secured: ssl.SSLSocket) -> None:
    """Says nothing of its own."""


def test_tls_probe_passes_says_until_when_the_certificate_holds_and_leaves_politely(
    run: Run, certificates: Certificates
) -> None:
    ends = datetime.datetime(2031, 2, 3, 4, 5, 6, tzinfo=datetime.UTC)
    with scripted(over_tls(certificates.context("app", ends=ends), silent)) as endpoint:
        for _ in range(10):
            result = run(run_probe(TLS, endpoint.address))
            assert result == ProbeResult(True, "TLSv1.3")
            assert result.certificate is not None
            assert result.certificate.expires_s == ends.timestamp()
            assert result.certificate.left_s == pytest.approx(ends.timestamp() - time.time(), abs=60)
        assert endpoint.ended(10) == ["fin"] * 10


@pytest.mark.parametrize("rule", [TlsRule(sni="app.internal"), TlsRule(sni="other.internal"), TlsRule()])
def test_name_that_is_asked_for_is_the_one_of_the_check(
    run: Run, certificates: Certificates, rule: TlsRule
) -> None:
    asked: list[str | None] = []
    context = certificates.context("app")
    context.sni_callback = lambda secured, name, of: asked.append(name)
    with scripted(over_tls(context, silent)) as endpoint:
        assert run(run_probe(replace(TLS, tls=rule), endpoint.address)).ok
    assert asked == [rule.sni]


def test_protocol_must_be_agreed_on(run: Run, certificates: Certificates) -> None:
    rule = TlsRule(alpn=("h2", "http/1.1"))
    for offered, ok in (("http/1.1", True), ("smtp", False)):
        with scripted(over_tls(certificates.context("app", alpn=(offered,)), silent)) as endpoint:
            result = run(run_probe(replace(TLS, tls=rule), endpoint.address))
            assert result.ok == ok, result
            if not ok:
                assert result.detail == "tls: none of h2, http/1.1 was agreed on (ALPN)"


@pytest.mark.parametrize(
    ("names", "sni", "detail"),
    [
        (("app.internal",), "app.internal", "TLSv1.3"),
        (("127.0.0.1",), None, "TLSv1.3"),
        (("app.internal",), "other.internal", "tls: certificate refused: Hostname mismatch"),
        (("app.internal",), None, "tls: certificate refused: IP address mismatch"),
    ],
)
def test_certificate_is_verified_where_the_check_says_so(
    run: Run, certificates: Certificates, names: tuple[str, ...], sni: str | None, detail: str
) -> None:
    rule = TlsRule(sni=sni, verify=str(certificates.trusted))
    with scripted(over_tls(certificates.context(*names), silent)) as endpoint:
        result = run(run_probe(replace(TLS, tls=rule), endpoint.address))
    assert result.detail.startswith(detail)
    assert result.ok == (detail == "TLSv1.3")


@pytest.mark.parametrize("verify", ["system", None])
def test_certificate_of_an_authority_that_nobody_knows_is_refused_only_where_it_is_verified(
    run: Run, certificates: Certificates, verify: str | None
) -> None:
    rule = TlsRule(sni="app", verify=verify)
    with scripted(over_tls(certificates.context("app"), silent)) as endpoint:
        result = run(run_probe(replace(TLS, tls=rule), endpoint.address))
    assert result.ok == (verify is None)
    assert result.ok or result.detail.startswith("tls: certificate refused: "), result


def test_file_of_trusted_certificates_is_read_again_when_it_was_replaced(
    run: Run, certificates: Certificates, tmp_path: Path
) -> None:
    path = tmp_path / "trusted.pem"
    check = replace(TLS, tls=TlsRule(sni="app", verify=str(path)))
    with scripted(over_tls(certificates.context("app"), silent)) as endpoint:
        missing = run(run_probe(check, endpoint.address))
        assert missing == ProbeResult(False, f"verify: {path}: No such file or directory")
        (tmp_path / "other").mkdir()
        path.write_bytes(Certificates.made(tmp_path / "other").trusted.read_bytes())
        assert not run(run_probe(check, endpoint.address)).ok
        path.write_bytes(certificates.trusted.read_bytes())
        assert run(run_probe(check, endpoint.address)).ok


def test_expired_certificate_is_no_failure_unless_it_is_verified(
    run: Run, certificates: Certificates
) -> None:
    ends = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    with scripted(over_tls(certificates.context("app", ends=ends), silent)) as endpoint:
        result = run(run_probe(TLS, endpoint.address))
        assert result.ok
        assert result.certificate is not None
        assert result.certificate.left_s < 0
        rule = TlsRule(sni="app", verify=str(certificates.trusted))
        refused = run(run_probe(replace(TLS, tls=rule), endpoint.address))
    assert refused == ProbeResult(False, "tls: certificate refused: certificate has expired")


def test_https_probe_asks_over_tls_behind_a_proxy_header(run: Run, certificates: Certificates) -> None:
    header = ProxyVersion.V2.own_header
    asked: list[bytes] = []

    def answer(secured: ssl.SSLSocket) -> None:
        asked.append(secured.recv(65536))
        secured.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup")
        secured.unwrap()

    def script(connection: socket.socket) -> None:
        asked.append(connection.recv(len(header), socket.MSG_WAITALL))
        with certificates.context("app").wrap_socket(connection.dup(), server_side=True) as secured:
            answer(secured)

    check = Check(HttpRequest(body="^up$"), TlsRule(), timeout_s=2.0, send_proxy=ProxyVersion.V2)
    with scripted(script) as endpoint:
        assert run(run_probe(check, endpoint.address)) == ProbeResult(True, "200 OK")
        assert endpoint.ended(1) == ["fin"]
    assert asked[0] == header
    assert asked[1].startswith(b"GET / HTTP/1.1\r\n")


def test_dialog_over_tls_leaves_with_a_close_notify(run: Run, certificates: Certificates) -> None:
    def ping(secured: ssl.SSLSocket) -> None:
        assert secured.recv(6) == b"PING\r\n"
        secured.sendall(b"+PONG\r\n")

    check = Check(Dialog((Send(b"PING\r\n"), Expect(b"+PONG"))), TlsRule(), timeout_s=2.0)
    with scripted(over_tls(certificates.context("app"), ping)) as endpoint:
        assert run(run_probe(check, endpoint.address)) == ProbeResult(True, "+PONG")
        assert endpoint.ended(1) == ["fin"]


def test_endpoint_that_speaks_no_tls_fails_and_one_that_is_silent_times_out(run: Run) -> None:
    with scripted(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.6\r\n")) as endpoint:
        assert run(run_probe(TLS, endpoint.address)) == ProbeResult(False, "tls: wrong version number")
    with scripted(lambda connection: None) as endpoint:
        before = open_fds()
        result = run(run_probe(replace(TLS, timeout_s=0.2), endpoint.address))
        assert result == TimedOut(False, "timeout after 0.2 s (connected, no TLS handshake)")
        assert endpoint.ended(1) == ["fin"]
        eventually(lambda: open_fds() <= before, within_s=5, reason="nothing is left open")
    with scripted(lambda connection: connection.shutdown(socket.SHUT_RDWR)) as endpoint:
        result = run(run_probe(TLS, endpoint.address))
        assert (result.ok, result.detail) == (False, "tls: reset")


def test_endpoint_that_does_not_say_goodbye_is_left(run: Run, certificates: Certificates) -> None:
    """It keeps the connection, and neither reads nor writes: some servers wait for a FIN."""
    context, done = certificates.context("app"), threading.Event()

    def keeps(connection: socket.socket) -> None:
        with context.wrap_socket(connection.dup(), server_side=True):
            done.wait(10.0)

    with scripted(keeps) as endpoint:
        began_s = time.monotonic()
        assert run(run_probe(TLS, endpoint.address)).ok
        assert time.monotonic() - began_s < 1.0
        done.set()
