"""Logins by libraries, at endpoints that speak something else, stop amid a word, or trickle."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress

import pytest

from lb.model.address import Address
from lb.model.check import Check, MysqlLogin, PostgresLogin, TlsRule
from lb.shell.probe import TimedOut, run_probe
from tests.support.open_fds import open_fds
from tests.support.probing import Run
from tests.support.scripted import Script, scripted
from tests.support.waiting import eventually

NOBODY = Address("127.0.0.1", 9)
POSTGRES, MYSQL = Check(PostgresLogin("lb", "secret"), timeout_s=2.0), Check(MysqlLogin("lb"), timeout_s=2.0)
LOGGED_IN = b"R" + struct.pack("!ii", 8, 0) + b"Z" + struct.pack("!i", 5) + b"I"


def saying(*words: bytes) -> Script:
    def script(connection: socket.socket) -> None:
        with suppress(OSError):  # lb may have left
            for word in words:
                connection.sendall(word)
                connection.recv(65536)
            connection.shutdown(socket.SHUT_WR)

    return script


@pytest.mark.parametrize("check", [POSTGRES, MYSQL], ids=["postgres", "mysql"])
@pytest.mark.parametrize(
    "said",
    [
        (b"",),
        (b"\r\n",),
        (b"SSH-2.0-OpenSSH_9.2\r\n",),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
        (b"\x05\0\0\0\x0a8.0\0\1",),  # a handshake of MySQL, cut short
        (b"R\0\0\0\0",),  # a message of PostgreSQL, shorter than its own head
        (b"R" + struct.pack("!ii", 8, 10),),  # mechanisms, and none is named
        (b"R" + struct.pack("!ii", 8, 11),),  # the second step without the first
        (LOGGED_IN, b"junk that is no answer"),
        (LOGGED_IN,),
    ],
)
def test_what_speaks_otherwise_fails(run: Run, check: Check, said: tuple[bytes, ...]) -> None:
    with scripted(saying(*said)) as endpoint:
        result = run(run_probe(check, endpoint.address))
    assert not result.ok
    assert result.detail


def test_password_of_none_is_no_defect_of_ours(run: Run) -> None:
    with scripted(saying(b"R" + struct.pack("!ii", 8, 3))) as endpoint:
        check = Check(PostgresLogin("lb"), timeout_s=2.0)
        assert run(run_probe(check, endpoint.address)).detail == "asks for a password"


@pytest.mark.parametrize(
    ("check", "head"),
    [(POSTGRES, b"R" + struct.pack("!i", 1000)), (MYSQL, b"\xff\0\0\0")],
    ids=["postgres", "mysql"],
)
def test_endpoint_that_trickles_is_left_when_the_time_is_up(run: Run, check: Check, head: bytes) -> None:
    """Each byte is in time, and the answer is not: the thread ends with its socket."""

    paused = threading.Event()

    def trickle(connection: socket.socket) -> None:
        connection.sendall(head)
        for _ in range(100):
            connection.sendall(b"\0")
            paused.wait(0.05)

    with scripted(trickle) as endpoint:
        result = run(run_probe(Check(check.question, timeout_s=0.3), endpoint.address))
        assert isinstance(result, TimedOut)
    eventually(
        lambda: not [each for each in threading.enumerate() if each.name == "lb-probe"],
        within_s=2.0,
        reason="no thread of a probe is left",
    )


def test_file_of_certificates_that_is_not_there_fails_before_anything_is_connected(run: Run) -> None:
    before = open_fds()
    rule = TlsRule(verify="/nowhere.pem")
    result = run(run_probe(Check(PostgresLogin("lb"), rule, timeout_s=1.0), POSTGRES.target(NOBODY)))
    assert result.detail == "verify: /nowhere.pem: No such file or directory"
    eventually(lambda: open_fds() <= before, within_s=5.0, reason="nothing is left open")
