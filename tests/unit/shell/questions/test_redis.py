"""PING of Redis, with answers as its servers give them, and others."""

from __future__ import annotations

import socket

import pytest

from lb.model.check import Check, ProbeResult, RedisPing, Role
from lb.shell.probe import run_probe
from lb.shell.questions.redis import command
from tests.support.probing import Run
from tests.support.scripted import Script, scripted

PING, INFO = command("PING"), command("INFO", "replication")


def answering(**replies: bytes) -> Script:
    """By the name of the command; each comes byte by byte."""

    def script(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while words := read_command(connection):
            for byte in replies[words[0].decode().lower()]:
                connection.sendall(bytes([byte]))

    return script


def read_command(connection: socket.socket) -> list[bytes]:
    count = read_number(connection, b"*")
    return [connection.recv(read_number(connection, b"$") + 2, socket.MSG_WAITALL)[:-2] for _ in range(count)]


def read_number(connection: socket.socket, mark: bytes) -> int:
    line = b""
    while not line.endswith(b"\r\n"):
        byte = connection.recv(1)
        if not byte:
            return 0
        line += byte
    assert line.startswith(mark)
    return int(line[1:])


def text(*lines: bytes) -> bytes:
    content = b"".join(line + b"\r\n" for line in (b"# Replication", *lines))
    return b"$%d\r\n%s\r\n" % (len(content), content)


@pytest.mark.parametrize(
    ("info", "detail", "role", "lag_s"),
    [
        (text(b"role:master", b"connected_slaves:1"), "PONG, primary", Role.PRIMARY, None),
        (
            text(b"role:slave", b"master_link_status:up", b"master_last_io_seconds_ago:3"),
            "PONG, replica",
            Role.REPLICA,
            3.0,
        ),
        (
            text(b"role:slave", b"master_link_status:down", b"master_last_io_seconds_ago:-1"),
            "PONG, replica",
            Role.REPLICA,
            None,
        ),
        (b"-NOPERM this user has no permissions to run the 'info' command\r\n", "PONG", None, None),
    ],
)
def test_pong_passes_and_the_role_is_told(
    run: Run, info: bytes, detail: str, role: Role | None, lag_s: float | None
) -> None:
    with scripted(answering(ping=b"+PONG\r\n", info=info)) as endpoint:
        result = run(run_probe(Check(RedisPing(), timeout_s=2.0), endpoint.address))
        assert endpoint.ended(1) == ["fin"]
    assert (result, result.role, result.lag_s) == (ProbeResult(True, detail), role, lag_s)


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        (b"-NOAUTH Authentication required.\r\n", "answered -NOAUTH Authentication required."),
        (b"-LOADING Redis is loading\r\n", "answered -LOADING Redis is loading"),
        (b"HTTP/1.1 400 Bad Request\r\n", "answered HTTP/1.1 400 Bad Request"),
        (b"$99999999\r\n", "not RESP: $99999999"),
    ],
)
def test_another_answer_fails_and_is_quoted(run: Run, reply: bytes, detail: str) -> None:
    with scripted(answering(ping=reply)) as endpoint:
        result = run(run_probe(Check(RedisPing(), timeout_s=2.0), endpoint.address))
    assert result == ProbeResult(False, detail)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (RedisPing(password="se cret"), [b"AUTH", b"se cret"]),
        (RedisPing("lb", "é"), [b"AUTH", b"lb", "é".encode()]),
    ],
)
def test_password_is_given_first_and_a_wrong_one_fails(
    run: Run, asked: RedisPing, words: list[bytes]
) -> None:
    heard: list[list[bytes]] = []

    def script(connection: socket.socket) -> None:
        heard.append(read_command(connection))
        connection.sendall(b"-WRONGPASS invalid username-password pair\r\n")

    with scripted(script) as endpoint:
        result = run(run_probe(Check(asked, timeout_s=2.0), endpoint.address))
    assert result == ProbeResult(False, "answered -WRONGPASS to AUTH")
    assert heard == [words]


def test_password_is_in_no_representation() -> None:
    assert "secret" not in repr(Check(RedisPing("lb", "secret")))


def test_password_is_not_shown_where_the_endpoint_repeats_it(run: Run) -> None:
    refused = b"-ERR unknown command 'AUTH', with args beginning with: 'hunter2'\r\n"
    with scripted(answering(auth=refused)) as endpoint:
        result = run(run_probe(Check(RedisPing(password="hunter2"), timeout_s=2.0), endpoint.address))
    assert result == ProbeResult(False, "answered -ERR to AUTH")


def test_length_that_is_no_length_fails(run: Run) -> None:
    with scripted(answering(ping=b"$" + b"1" * 5000 + b"\r\n")) as endpoint:
        result = run(run_probe(Check(RedisPing(), timeout_s=2.0), endpoint.address))
    assert result.detail.startswith("not RESP: $111")
