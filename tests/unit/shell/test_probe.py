"""What a probe says of an endpoint that behaves well, badly, or not at all, and how it leaves."""

from __future__ import annotations

import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lb.model.address import Address, UnixAddress
from lb.model.check import Check, HttpRequest, ProbeResult
from lb.model.proxy import ProxyVersion
from lb.shell import connecting, probe
from lb.shell.probe import ProbeImpossible, TimedOut, run_probe
from tests.support.blackhole import blackhole
from tests.support.ports import free_port
from tests.support.probing import Run
from tests.support.scripted import Script, scripted

TCP = Check(timeout_s=2.0)


def http(timeout_s: float = 2.0, **request: Any) -> Check:
    return Check(HttpRequest(**request), timeout_s=timeout_s)


def answering(text: bytes) -> Script:
    """Reads a request, then says this and closes."""

    def script(connection: socket.socket) -> None:
        asked = b""
        while not asked.endswith(b"\r\n\r\n"):
            asked += connection.recv(65536)
        connection.sendall(text)
        connection.shutdown(socket.SHUT_WR)

    return script


def silent(connection: socket.socket) -> None:
    """Reads, and says nothing."""


# ---- PROXY headers ---------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ProxyVersion)
def test_probe_of_any_kind_opens_with_the_header_of_its_version(run: Run, version: ProxyVersion) -> None:
    size = len(version.own_header)

    def script(connection: socket.socket) -> None:
        opened.append(connection.recv(size, socket.MSG_WAITALL))

    opened: list[bytes] = []
    with scripted(script) as endpoint:
        assert run(run_probe(replace(TCP, send_proxy=version), endpoint.address)).ok
        assert endpoint.ended(1) == ["fin"]
        asked = replace(http(timeout_s=0.2), send_proxy=version)
        assert isinstance(run(run_probe(asked, endpoint.address)), TimedOut)
        assert endpoint.heard(1)[0].startswith(b"GET / HTTP/1.1\r\n")
    assert opened == [version.own_header] * 2


def test_probe_without_a_header_opens_with_its_request(run: Run) -> None:
    with scripted(silent) as endpoint:
        run(run_probe(http(timeout_s=0.2), endpoint.address))
        assert endpoint.heard(1)[0].startswith(b"GET / HTTP/1.1\r\n")


# ---- tcp ------------------------------------------------------------------------------------------


def test_tcp_probe_of_a_listening_endpoint_passes(run: Run) -> None:
    with scripted(silent) as endpoint:
        result = run(run_probe(TCP, endpoint.address))
    assert result == ProbeResult(True, "connected")
    assert 0 < result.duration_s < TCP.timeout_s


def test_tcp_probe_leaves_with_a_fin_when_the_endpoint_greets_at_once(run: Run) -> None:
    with scripted(lambda connection: connection.sendall(b"220 smtp\r\n" * 1000)) as endpoint:
        for _ in range(20):
            assert run(run_probe(TCP, endpoint.address)).ok
        assert endpoint.ended(20) == ["fin"] * 20


def test_tcp_probe_stays_until_the_endpoint_has_said_goodbye(run: Run) -> None:
    def goodbye(connection: socket.socket) -> None:
        assert connection.recv(1) == b""
        connection.sendall(b"421 bye\r\n")

    with scripted(goodbye) as endpoint:
        assert run(run_probe(TCP, endpoint.address)).ok
        assert endpoint.ended(1) == ["fin"]


def test_probe_of_a_closed_port_says_refused(run: Run) -> None:
    result = run(run_probe(TCP, Address("127.0.0.1", free_port())))
    assert result == ProbeResult(False, "connect: refused")


def test_probe_of_a_dead_host_times_out_at_its_deadline(run: Run) -> None:
    with blackhole() as hole:
        result = run(run_probe(Check(timeout_s=0.2), Address("127.0.0.1", hole.port)))
    assert result == TimedOut(False, "timeout after 0.2 s (connecting)")
    assert 0.19 < result.duration_s < 1.0


def test_probe_that_meets_itself_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    address = Address("127.0.0.1", free_port())

    class FromTheSamePort(socket.socket):
        def __init__(self, *words: Any, **rest: Any) -> None:
            super().__init__(*words, **rest)
            if self.family == socket.AF_INET and "fileno" not in rest:
                self.bind((address.host, address.port))

    monkeypatch.setattr(connecting.socket, "socket", FromTheSamePort)
    result = run(run_probe(TCP, address))
    assert result == ProbeResult(False, "connect: refused (it met itself)")


def test_probe_without_a_free_descriptor_is_impossible_and_no_failure(run: Run) -> None:
    port = free_port()

    async def starved() -> ProbeResult:
        with no_more_descriptors():
            return await run_probe(TCP, Address("127.0.0.1", port))

    with pytest.raises(ProbeImpossible, match="Too many open files"):
        run(starved())


@pytest.mark.parametrize("number", sorted(probe.OURS))
def test_error_of_our_own_while_connecting_is_impossible(number: int) -> None:
    assert isinstance(probe._translated("connect", OSError(number, "ours")), ProbeImpossible)


# ---- http -----------------------------------------------------------------------------------------


def test_http_probe_asks_what_the_check_says(run: Run) -> None:
    asked: list[bytes] = []

    def script(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        answer = b"HTTP/1.1 200 OK\r\n\r\n"
        connection.sendall(answer)
        connection.shutdown(socket.SHUT_WR)

    check = http(path="/health?deep=1", headers=(("user-agent", "mine"), ("X-Token", "t")))
    with scripted(script) as endpoint:
        assert run(run_probe(check, endpoint.address)) == ProbeResult(True, "200 OK")
        host = str(endpoint.address)
    assert asked[0].decode() == (
        f"GET /health?deep=1 HTTP/1.1\r\nHost: {host}\r\nAccept: */*\r\nConnection: close\r\n"
        "user-agent: mine\r\nX-Token: t\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("answer", "ok", "detail"),
    [
        (b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nbody", True, "200 OK"),
        (b"HTTP/1.0 302 Found\nLocation: /\n\n", True, "302 Found"),
        (b"HTTP/1.1 204\r\n\r\n", True, "204"),
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", True, "200 OK"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", False, "answered 503, expected 200-399"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", False, "answered 101, expected 200-399"),
        (b"HTTP/1.1 200 \x1b[2J\xff\n", True, r"200 \x1b[2J\xff"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", False, r"not HTTP: HTTP/1.1 2000 OK\r\n\r\n"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", False, r"not HTTP: SSH-2.0-OpenSSH_9.6\r\n"),
        (b"HTTP/1.1 20", False, "not HTTP: HTTP/1.1 20"),
        (b"", False, "closed without an answer"),
    ],
)
def test_http_probe_judges_the_answer(run: Run, answer: bytes, ok: bool, detail: str) -> None:
    with scripted(answering(answer)) as endpoint:
        assert run(run_probe(http(), endpoint.address)) == ProbeResult(ok, detail)


def test_http_probe_takes_a_status_in_any_of_its_ranges(run: Run) -> None:
    with scripted(answering(b"HTTP/1.1 404 Not Found\r\n\r\n")) as endpoint:
        passed = run(run_probe(http(status=((200, 299), (404, 404))), endpoint.address))
        failed = run(run_probe(http(status=((200, 299), (401, 401))), endpoint.address))
    assert passed == ProbeResult(True, "404 Not Found")
    assert failed == ProbeResult(False, "answered 404, expected 200-299, 401")


def test_http_probe_puts_an_answer_in_pieces_together(run: Run) -> None:
    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"HTTP/1.1 100 Continue\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n":
            connection.sendall(bytes([byte]))

    with scripted(script) as endpoint:
        assert run(run_probe(http(), endpoint.address)) == ProbeResult(True, "200 OK")


def test_http_probe_reads_a_bounded_head(run: Run) -> None:
    with scripted(lambda connection: connection.sendall(b"HTTP/1.1 200 " + b"O" * 100_000)) as endpoint:
        result = run(run_probe(http(), endpoint.address))
    assert not result.ok
    assert result.detail.startswith("not HTTP: no status line in 16384 bytes: HTTP/1.1 200 OOO")
    assert len(result.detail) < 150


def test_http_probe_of_a_hung_endpoint_times_out(run: Run) -> None:
    with scripted(silent) as endpoint:
        result = run(run_probe(http(timeout_s=0.2), endpoint.address))
    assert result == TimedOut(False, "timeout after 0.2 s (connected, no answer)")


def test_http_probe_has_one_deadline_however_slowly_the_answer_comes(run: Run) -> None:
    def script(connection: socket.socket) -> None:
        connection.settimeout(0.05)
        for _ in range(100):
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            try:
                connection.recv(65536)
            except TimeoutError:
                continue

    with scripted(script) as endpoint:
        result = run(run_probe(http(timeout_s=0.3), endpoint.address))
    assert isinstance(result, TimedOut)
    assert result.duration_s < 1.0


def test_http_probe_reads_the_body_and_leaves_without_a_reset(run: Run) -> None:
    with scripted(answering(b"HTTP/1.1 500 Oops\r\n\r\n" + b"x" * 40_000)) as endpoint:
        assert not run(run_probe(http(), endpoint.address)).ok
        assert endpoint.ended(1) == ["fin"]


# ---- Unix sockets ---------------------------------------------------------------------------------


def test_tcp_probe_of_a_unix_socket_passes_and_leaves_with_a_fin(run: Run, tmp_path: Path) -> None:
    with scripted(lambda connection: connection.sendall(b"hello"), str(tmp_path / "app.sock")) as endpoint:
        assert run(run_probe(TCP, endpoint.address)) == ProbeResult(True, "connected")
        assert endpoint.ended(1) == ["fin"]


def test_http_probe_of_a_unix_socket_asks_for_localhost(run: Run, tmp_path: Path) -> None:
    asked: list[bytes] = []

    def script(connection: socket.socket) -> None:
        asked.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)

    with scripted(script, str(tmp_path / "app.sock")) as endpoint:
        assert run(run_probe(http(), endpoint.address)) == ProbeResult(True, "200 OK")
        assert run(run_probe(http(host="app"), endpoint.address)) == ProbeResult(True, "200 OK")
    hosts = [head.split(b"\r\n")[1] for head in asked]
    assert hosts == [b"Host: localhost", b"Host: app"]


def test_probe_of_a_unix_socket_that_is_not_served_says_why(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "app.sock"
    assert run(run_probe(TCP, UnixAddress(str(path)))) == ProbeResult(False, "connect: no such file")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        assert run(run_probe(TCP, UnixAddress(str(path)))) == ProbeResult(False, "connect: refused")
        server.listen(0)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            full = run(run_probe(TCP, UnixAddress(str(path))))
    assert full == ProbeResult(False, "connect: its queue is full")


@contextmanager
def no_more_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as lowest_free:
        number = lowest_free.fileno()
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
