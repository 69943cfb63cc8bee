"""What an operator reads when an address cannot be listened to."""

from __future__ import annotations

import errno

import pytest

from lb.model.address import Address, SocketAddress, UnixAddress
from lb.shell.bind_problem import BindError, BindProblem, SocketRefused, noting

PORT, PATH = Address("10.0.0.1", 80), UnixAddress("/run/web.sock")


def told(address: SocketAddress, error: OSError) -> str:
    problems: list[BindProblem] = []
    with noting(problems, "web", address):
        raise error
    return str(problems[0])


@pytest.mark.parametrize(
    ("address", "error", "text"),
    [
        (
            PORT,
            OSError(errno.EADDRINUSE, ""),
            "address already in use; another program listens there: see `ss -ltnp 'sport = :80'`",
        ),
        (
            PORT,
            OSError(errno.EACCES, ""),
            "permission denied; ports below 1024 need root or CAP_NET_BIND_SERVICE",
        ),
        (
            PATH,
            OSError(errno.EADDRINUSE, ""),
            "address already in use; another program listens there: see `ss -lxp src /run/web.sock`",
        ),
        (
            PATH,
            OSError(errno.EACCES, ""),
            "permission denied; lb's user may not make files in that folder: choose one that it owns",
        ),
        (
            PATH,
            OSError(errno.ENOENT, ""),
            "no such file or directory; the folder does not exist: create it",
        ),
        (PATH, OSError(errno.EROFS, ""), "read-only file system"),
        (PORT, SocketRefused("tcp.x: no", "do y"), "tcp.x: no; do y"),
        (PORT, SocketRefused("tcp.x: no"), "tcp.x: no"),
    ],
)
def test_problem_says_what_and_what_to_do(address: SocketAddress, error: OSError, text: str) -> None:
    assert told(address, error) == f"listeners.web: cannot listen on {address}: {text}"


def test_problems_of_a_range_of_ports_are_told_once() -> None:
    problems = [BindProblem("web", Address("0.0.0.0", port), "no", "yes") for port in range(9000, 9500)]
    error = BindError([*problems, BindProblem("api", PORT, "no"), BindProblem("web", PORT, "other")])
    assert str(error).splitlines() == [
        "listeners.web: cannot listen on 0.0.0.0:9000 and 499 more: no; yes",
        "listeners.api: cannot listen on 10.0.0.1:80: no",
        "listeners.web: cannot listen on 10.0.0.1:80: other",
    ]
