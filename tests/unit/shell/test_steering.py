"""Which socket of a group gets a connection, and the traps that the steering program is there for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lb.model.address import Address
from lb.shell.steering import steer, steer_all_to, steer_port_to
from lb.shell.tcp_socket import bound_socket
from tests.support.connecting import accepted_by_each, clients

MANY = 60  # connections; that one of three sockets gets none of them by chance is one in 10^10

Group = list[socket.socket]


@pytest.fixture
def group() -> Iterator[Group]:
    """Three sockets that listen on one port, in order of index, without a program."""
    with ExitStack() as stack:
        first = stack.enter_context(bound_socket(Address("127.0.0.1", 0), reuse_port=True))
        others = (bound_socket(address_of(first), reuse_port=True) for _ in range(2))
        sockets = [first, *map(stack.enter_context, others)]
        for sock in sockets:
            sock.listen(1000)
        yield sockets


def address_of(sock: socket.socket) -> Address:
    return Address(*sock.getsockname()[:2])


def connections_by_index(group: Group) -> list[int]:
    standing = [sock for sock in group if sock.fileno() != -1]
    with clients(address_of(standing[0]), MANY):
        return accepted_by_each(standing)


def test_steer_none_every_socket_gets_connections(group: Group) -> None:
    """The trap: a socket that is about to be closed still gets its share."""
    assert all(connections_by_index(group))


def test_steer_over_all_every_socket_gets_connections(group: Group) -> None:
    steer(group[0], 3)
    assert all(connections_by_index(group))


def test_steer_away_from_the_last_index_gets_nothing(group: Group) -> None:
    steer(group[2], 2)
    first, second, last = connections_by_index(group)
    assert first > 0
    assert second > 0
    assert last == 0


def test_steer_is_of_the_group_whichever_socket_it_is_set_on(group: Group) -> None:
    steer(group[0], 1)
    assert connections_by_index(group) == [MANY, 0, 0]
    steer(group[2], 3)
    assert all(connections_by_index(group))


def test_steer_out_of_range_falls_back_to_every_socket(group: Group) -> None:
    """The trap: a program that was not rewritten after a leave."""
    steer(group[0], 30)
    assert all(connections_by_index(group))


def test_steer_after_another_index_closed_reaches_the_wrong_socket(group: Group) -> None:
    """The trap: closing the first moves the last to its index, so only the last may ever close."""
    group[0].close()
    steer(group[1], 1)
    assert connections_by_index(group) == [0, MANY]  # of the second and the third: it is the third that moved


def test_steer_all_to_one_index_leaves_none_to_the_others(group: Group) -> None:
    steer_all_to(group[0], 1)
    assert connections_by_index(group) == [0, MANY, 0]


def test_steer_port_to_an_index_only_that_port_gets_there(group: Group) -> None:
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        steer_port_to(group[0], ours.getsockname()[1], 2, socket.AF_INET)
        ours.connect(group[0].getsockname())
        first, second, last = connections_by_index(group)
    assert first > 0
    assert second > 0
    assert last == 1
