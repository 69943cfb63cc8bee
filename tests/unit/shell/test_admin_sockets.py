"""Where the admin server listens, and how it tells who is at the other end."""

from __future__ import annotations

import asyncio
import os
import pwd
import socket
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from lb.model.address import Address
from lb.shell.admin_sockets import CannotListen, identity, listen_tcp, listen_unix, who


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_unix_socket_is_for_owner_and_group_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    path = tmp_path / "admin.sock"
    with umask(mask), closing(listen_unix(path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_unix_socket_that_nobody_listens_to_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    listen_unix(path).close()
    assert path.is_socket()
    with closing(listen_unix(path)), socket.socket(socket.AF_UNIX) as visitor:
        visitor.connect(str(path))


def test_unix_socket_that_answers_is_left_to_the_other_lb(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with closing(listen_unix(path)):
        ours = identity(path)
        with pytest.raises(CannotListen, match=r"admin\.socket: .*admin\.sock: another lb answers there"):
            listen_unix(path)
        assert identity(path) == ours


def test_unix_socket_whose_queue_is_full_is_not_taken_for_a_stale_one(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
        busy.bind(str(path))
        busy.listen(0)
        waiting.connect(str(path))
        with pytest.raises(CannotListen, match="another lb answers"):
            listen_unix(path)


def test_file_that_is_not_a_socket_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    path.write_text("precious")
    with pytest.raises(CannotListen, match="not a socket"):
        listen_unix(path)
    assert path.read_text() == "precious"


def test_unix_socket_in_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="the folder does not exist; create it or set runtime_dir"):
        listen_unix(tmp_path / "none" / "admin.sock")


def test_unix_socket_with_a_path_too_long_says_so(tmp_path: Path) -> None:
    with pytest.raises(CannotListen, match="too long"):
        listen_unix(tmp_path / ("x" * 200))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_tcp_socket_listens_on_its_address(host: str) -> None:
    with closing(listen_tcp(Address(host, 0))) as listening, socket.socket(listening.family) as visitor:
        visitor.connect(listening.getsockname())


def test_tcp_port_in_use_is_an_error_that_names_the_key() -> None:
    with closing(listen_tcp(Address("127.0.0.1", 0))) as listening:
        taken = Address(*listening.getsockname())
        with pytest.raises(CannotListen, match=rf"admin\.bind: {taken}: in use by another program"):
            listen_tcp(taken)


def test_tcp_address_of_another_machine_is_an_error() -> None:
    with pytest.raises(CannotListen, match="this machine has no such address"):
        listen_tcp(Address("192.0.2.1", 0))


class FakeTransport(asyncio.Transport):
    """One end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__({"socket": sock, "peername": sock.getpeername()})


def test_who_is_the_user_at_the_other_end_of_a_unix_socket() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert who(FakeTransport(ours)) == f"unix uid {os.getuid()} ({pwd.getpwuid(os.getuid()).pw_name})"


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_who_is_the_address_at_the_other_end_of_a_tcp_connection(host: str, shown: str) -> None:
    with closing(listen_tcp(Address(host, 0))) as listening, socket.socket(listening.family) as visitor:
        visitor.connect(listening.getsockname())
        port = listening.getsockname()[1]
        assert who(FakeTransport(visitor)) == f"{shown}:{port}"
