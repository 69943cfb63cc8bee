"""Nobody new is admitted, whoever has begun is not lost, and no privilege is needed."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lb.model.address import Address
from lb.shell.dead_end import DeadEnd
from lb.shell.steering import steer
from lb.shell.tcp_socket import bound_socket
from tests.support import reachable
from tests.support.connecting import accepted_by_each, clients, connect, is_ignored, is_refused, needs_ipv6
from tests.support.open_fds import open_fds
from tests.support.source import ROOT

MANY = 60

Group = list[socket.socket]


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", pytest.param("::1", marks=needs_ipv6)])
def group(request: pytest.FixtureRequest) -> Iterator[Group]:
    """Two sockets that listen on one port, and the program over them."""
    with ExitStack() as stack:
        first = stack.enter_context(bound_socket(Address(request.param, 0), reuse_port=True))
        second = stack.enter_context(bound_socket(address_of(first), reuse_port=True))
        for sock in (first, second):
            sock.listen(1000)
        steer(first, 2)
        yield [first, second]


def address_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def reached_at(group: Group) -> Address:
    bound = address_of(group[0])
    return Address("127.0.0.1", bound.port) if bound.is_wildcard else bound


def dead_end_of(group: Group) -> DeadEnd:
    return DeadEnd(group[0], bound_socket(address_of(group[0]), reuse_port=True), len(group))


async def test_shut_out_new_client_gets_no_answer_until_opened(group: Group) -> None:
    dead_end = dead_end_of(group)
    await dead_end.shut_out()
    assert is_ignored(reached_at(group))
    dead_end.open()
    with clients(reached_at(group), MANY):
        assert sum(accepted_by_each(group)) == MANY


async def test_shut_out_connection_made_before_goes_on(group: Group) -> None:
    steer(group[0], 1)
    with connect(reached_at(group)) as client:
        dead_end = dead_end_of(group)
        await dead_end.shut_out()
        accepted, _ = group[0].accept()
        with accepted:
            client.sendall(b"ping")
            assert accepted.recv(4) == b"ping"
            accepted.sendall(b"pong")
            assert client.recv(4) == b"pong"
        dead_end.open()


async def test_shut_out_handshake_under_way_is_completed(group: Group) -> None:
    group[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)  # it is under way until a byte comes
    steer(group[0], 1)
    with connect(reached_at(group)) as client:
        dead_end = dead_end_of(group)
        await dead_end.shut_out()
        client.sendall(b"ping")
        group[0].settimeout(5.0)
        accepted, _ = group[0].accept()
        with accepted:
            assert accepted.recv(4) == b"ping"
        dead_end.open()


async def test_open_when_the_others_are_closed_leaves_nothing_behind(group: Group) -> None:
    reached = reached_at(group)
    before = open_fds()
    dead_end = dead_end_of(group)
    await dead_end.shut_out()
    for sock in group:
        sock.close()
    dead_end.open()
    assert is_refused(reached, timeout_s=1.0)
    assert open_fds() == before - len(group)


WITHOUT_PRIVILEGE = """
import asyncio
from lb.model.address import Address
from lb.model.listener import TcpOptions
from lb.shell.lookout import Lookout
from lb.shell.sockets import ListeningGroup
from tests.support.connecting import accepted_by_each, connect, is_ignored

async def main():
    group = ListeningGroup(Address("127.0.0.1", 0), TcpOptions(), 2)
    group.listen()
    listening = [member.sock for member in group.sockets]
    with connect(group.address):
        ending = asyncio.create_task(group.end(Lookout()))
        await asyncio.wait([ending], timeout=0.1)
        assert is_ignored(group.address), "a new client was admitted"
        assert sum(accepted_by_each(listening)) == 1
        assert await ending == 0

asyncio.run(main())
"""


def test_shut_out_works_for_an_ordinary_user(tmp_path: Path) -> None:
    """A filter on the sockets, which would be simpler, is refused to whoever has no capability."""
    words = [sys.executable, "-c", WITHOUT_PRIVILEGE]
    if os.geteuid() == 0:
        user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"]
        words = [*reachable.prefix(tmp_path), *user, *words]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr
