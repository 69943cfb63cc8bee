"""Whose socket file it is, and that only one that nobody serves is cleared away."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lb.shell.bind_problem import SocketRefused
from lb.shell.unix_path import clear, identity, is_served, listening_at


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a b.sock"


@pytest.fixture
def served(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen(1)
        yield server


def test_path_of_a_killed_server_is_cleared(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
    assert not is_served(path)
    clear(path)
    assert identity(path) is None
    clear(path)


def test_path_that_is_served_stays(path: Path, served: socket.socket) -> None:
    before = identity(path)
    with pytest.raises(OSError, match="Address already in use") as refused:
        clear(path)
    assert refused.value.errno == errno.EADDRINUSE
    assert identity(path) == before


def test_path_whose_queue_is_full_is_served(path: Path, served: socket.socket) -> None:
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(path))
        assert is_served(path)


def test_path_of_datagrams_is_served(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))
        assert is_served(path)


def test_path_of_another_kind_of_file_is_never_removed(path: Path) -> None:
    path.write_text("precious")
    with pytest.raises(SocketRefused, match="a file is there that is not a socket"):
        clear(path)
    assert path.read_text() == "precious"
    assert not is_served(path)


def test_path_behind_a_link_is_not_followed(path: Path, served: socket.socket, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(path)
    with pytest.raises(SocketRefused, match="not a socket"):
        clear(link)


def test_listening_at_names_the_inode_of_who_listens(path: Path, served: socket.socket) -> None:
    assert list(listening_at({str(path)})) == [str(os.fstat(served.fileno()).st_ino)]
    assert not list(listening_at({str(path.with_name("other"))}))


def test_listening_at_passes_over_who_does_not_listen(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))
        assert not list(listening_at({str(path)}))
