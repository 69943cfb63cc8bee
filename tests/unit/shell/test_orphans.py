"""Whose listening sockets are in the way of an address, and whom nobody asks to leave."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lb.model.address import Address, SocketAddress, UnixAddress
from lb.model.listener import Listener
from lb.shell.orphans import in_the_way, inodes, is_orphan, relieve
from lb.shell.place import Place, places


@pytest.mark.parametrize(
    ("host", "port", "is_in_the_way"),
    [
        ("127.0.0.1", 80, True),
        ("0.0.0.0", 80, True),
        ("127.0.0.2", 80, False),
        ("127.0.0.1", 81, False),
        ("::", 80, False),
    ],
)
def test_listener_in_the_way_of_an_address(host: str, port: int, is_in_the_way: bool) -> None:
    packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    assert in_the_way(packed, port, [Address("127.0.0.1", 80)]) == is_in_the_way


def test_listener_in_the_way_of_a_wildcard_address() -> None:
    assert in_the_way(socket.inet_aton("127.0.0.2"), 80, [Address("0.0.0.0", 80)])


def test_process_that_is_no_worker_is_no_orphan() -> None:
    assert not is_orphan(Path(f"/proc/{os.getpid()}"))


async def test_another_program_is_left_alone_and_not_waited_for() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert await relieve(places_of(Address("127.0.0.1", other.getsockname()[1]))) == []


async def test_another_program_at_a_path_is_left_alone_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        assert await relieve(places_of(UnixAddress(str(path)))) == [], "it does not listen"
        other.listen()
        assert list(inodes([Place(UnixAddress(str(path)))])) == [str(os.fstat(other.fileno()).st_ino)]
        assert await relieve(places_of(UnixAddress(str(path)))) == []
    assert path.exists()


def test_inodes_of_a_port_are_those_that_listen_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = Address("127.0.0.1", listening.getsockname()[1])
        assert list(inodes([Place(address)])) == [str(os.fstat(listening.fileno()).st_ino)]


def places_of(*addresses: SocketAddress) -> list[tuple[Place, Listener]]:
    return list(places([Listener("web", addresses, "web")]))
