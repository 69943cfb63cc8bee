"""A reset on one side arrives as a reset on the other, after every byte that came before it.

A sender's kernel throws away what was not acknowledged when its program resets, so each test waits for the
acknowledgement first: from then on the bytes are lb's to deliver.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.sessions import Acceptor, acceptor, acknowledged, closed, read_exactly, reset
from tests.support.streams import InThread, blocks, send
from tests.support.waiting import throughout

MIB = 1 << 20


@contextmanager
def lb_and_acceptor(folder: Path) -> Iterator[tuple[LbProcess, Acceptor, int]]:
    port = free_port()
    with acceptor() as one, running_lb(one_pool(port, {"a": one.port}, workers=1), folder) as lb:
        yield lb, one, port


def read_to_reset(connection: socket.socket) -> bytes:
    """All bytes before the reset. Fails when the stream ends in order: a lost tail would look whole."""
    parts = []
    while True:
        try:
            chunk = connection.recv(1 << 16)
        except ConnectionResetError:
            return b"".join(parts)
        assert chunk, f"an orderly end after {sum(map(len, parts))} bytes, a reset was due"
        parts.append(chunk)


@pytest.mark.parametrize("resetter", ["client", "endpoint"])
@pytest.mark.parametrize("reader", ["reads at once", "reads later"])
def test_reset_after_many_bytes_arrives_after_each_of_them(resetter: str, reader: str, folder: Path) -> None:
    size = MIB if reader == "reads at once" else MIB // 4  # lb holds no more for one that does not read
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        session = endpoint_.session(port)
        address = session.client.getsockname()
        sender, receiver = session if resetter == "client" else (session.upstream, session.client)
        early = InThread(read_to_reset, receiver) if reader == "reads at once" else None
        send(sender, size, 1, half_close=False)
        acknowledged(sender)
        reset(sender)
        if early is None:
            throughout(lambda: lb.process.alive, for_s=0.5, reason="lb waits for the reader")
            early = InThread(read_to_reset, receiver)
        received = early.result(15)
        assert len(received) == size
        assert received == b"".join(blocks(size, 1))
        line = lb.session_line(address)
        assert (line["reason"], line["closed_by"]) == (f"{resetter}_reset", resetter)
        assert line["bytes_in" if resetter == "client" else "bytes_out"] == size


@pytest.mark.parametrize("resetter", ["client", "endpoint"])
def test_reset_of_a_resting_session_is_passed_on_at_once(resetter: str, folder: Path) -> None:
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        session = endpoint_.session(port)
        address = session.client.getsockname()
        session.client.sendall(b"ping")
        assert read_exactly(session.upstream, 4) == b"ping"
        sender, receiver = session if resetter == "client" else (session.upstream, session.client)
        reset(sender)
        assert closed(receiver, within_s=2) == "reset"
        assert lb.session_line(address)["reason"] == f"{resetter}_reset"


def test_reset_after_a_half_close_is_passed_on(folder: Path) -> None:
    """The client has half-closed and waits for its answer; the endpoint sends part of it and resets."""
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        session = endpoint_.session(port)
        address = session.client.getsockname()
        session.client.sendall(b"question")
        session.client.shutdown(socket.SHUT_WR)
        assert read_exactly(session.upstream, 8) == b"question"
        assert session.upstream.recv(1) == b""
        session.upstream.sendall(b"half an answ")
        acknowledged(session.upstream)
        reset(session.upstream)
        assert read_to_reset(session.client) == b"half an answ"
        assert lb.session_line(address)["reason"] == "endpoint_reset"


def test_client_that_resets_unread_data_resets_the_endpoint(folder: Path) -> None:
    """Closing a socket with unread bytes resets it: the usual way in which clients leave a download."""
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        session = endpoint_.session(port)
        address = session.client.getsockname()
        sender = InThread(send, session.upstream, 64 * MIB, 1)
        assert read_exactly(session.client, MIB)
        session.client.close()
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            sender.result(15)
        assert lb.session_line(address)["reason"] == "client_reset"
