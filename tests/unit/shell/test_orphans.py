"""Whose listening sockets are in the way of an address, and whom nobody asks to leave."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from lb.model.address import Address
from lb.shell.orphans import in_the_way, is_orphan, relieve


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
        assert await relieve([Address("127.0.0.1", other.getsockname()[1])]) == []
