"""Clients for listening sockets of our own: who is let in, and by which socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress

import pytest

from lb.model.address import Address

CONNECT_S_MAX = 5.0


def has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no ::1")


def connect(address: Address, timeout_s: float = CONNECT_S_MAX) -> socket.socket:
    """Raises OSError: ConnectionRefusedError, or TimeoutError when nobody answers."""
    return socket.create_connection((address.host, address.port), timeout=timeout_s)


@contextmanager
def clients(address: Address, count: int) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(connect(address)) for _ in range(count)]


def accept_all(listening: socket.socket) -> list[socket.socket]:
    """What waits in the queue of a non-blocking socket."""
    accepted = []
    while True:
        try:
            accepted.append(listening.accept()[0])
        except BlockingIOError:
            return accepted


def accepted_by_each(listening: Sequence[socket.socket]) -> list[int]:
    """How many connections waited at each; they are closed."""
    counts = []
    for one in listening:
        accepted = accept_all(one)
        counts.append(len(accepted))
        for connection in accepted:
            connection.close()
    return counts


def is_refused(address: Address, timeout_s: float = CONNECT_S_MAX) -> bool:
    """Whether a connect is answered by a reset; False when it succeeds or nobody answers."""
    try:
        connect(address, timeout_s).close()
    except ConnectionRefusedError:
        return True
    except TimeoutError:
        return False
    return False


def is_ignored(address: Address, timeout_s: float = 0.2) -> bool:
    """Whether nobody answers a SYN. The time is what an answer over loopback would never take."""
    try:
        connect(address, timeout_s).close()
    except TimeoutError:
        return True
    except ConnectionRefusedError:
        return False
    return False
