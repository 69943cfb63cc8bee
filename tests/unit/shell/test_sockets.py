"""A listening group: what it takes over, how it shrinks and ends without losing anybody, and its traps."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lb.model.address import Address
from lb.model.listener import Keepalive, TcpOptions
from lb.shell.lookout import Lookout
from lb.shell.sock_diag import accept_queue, at, handshakes
from lb.shell.sockets import ListeningGroup
from lb.shell.tcp_socket import claim
from tests.support.async_waiting import until
from tests.support.connecting import (
    accept_all,
    accepted_by_each,
    clients,
    connect,
    is_ignored,
    is_refused,
    needs_ipv6,
)
from tests.support.open_fds import open_fds
from tests.support.ports import free_port

LOOPBACK = Address("127.0.0.1", 0)
MANY = 60  # connections; that one of three sockets gets none of them by chance is one in 10^10
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a socket to another user")


@pytest.fixture
def group() -> Iterator[ListeningGroup]:
    """Three sockets of one port of loopback, listening."""
    made = ListeningGroup(Address("127.0.0.1", free_port()), TcpOptions(), 3)
    made.listen()
    yield made
    made.close()


def sockets_of(group: ListeningGroup) -> list[socket.socket]:
    return [member.sock for member in group.sockets]


# ---- What a group is ----


def test_group_port_0_every_socket_joins_the_port_that_the_first_got() -> None:
    group = ListeningGroup(LOOPBACK, TcpOptions(), 3)
    assert group.address.port != 0
    assert {sock.getsockname()[1] for sock in sockets_of(group)} == {group.address.port}
    group.close()


def test_group_connections_are_spread_over_every_socket(group: ListeningGroup) -> None:
    with clients(group.address, MANY):
        accepted = accepted_by_each(sockets_of(group))
    assert sum(accepted) == MANY
    assert all(accepted)


def test_group_before_it_listens_clients_are_refused() -> None:
    group = ListeningGroup(Address("127.0.0.1", free_port()), TcpOptions(), 2)
    assert is_refused(group.address)
    group.close()


def test_group_that_cannot_be_bound_leaves_nothing_behind(group: ListeningGroup) -> None:
    before = open_fds()
    with pytest.raises(OSError) as refused:
        ListeningGroup(Address("192.0.2.1", 80), TcpOptions(), 3)
    assert refused.value.errno == errno.EADDRNOTAVAIL
    assert open_fds() == before


def test_group_numbers_of_sockets_are_never_used_again() -> None:
    numbers: list[int] = []
    for _ in range(3):
        group = ListeningGroup(LOOPBACK, TcpOptions(), 2)
        numbers += [member.number for member in group.sockets]
        group.close()
    assert len(set(numbers)) == 6


def test_group_sessions_inherit_no_delay_keepalive_and_urgent_data_in_line() -> None:
    options = TcpOptions(keepalive=Keepalive(idle_s=41, interval_s=7, count=5))
    group = ListeningGroup(LOOPBACK, options, 1)
    group.listen()
    with connect(group.address), accept_all(group.sockets[0].sock)[0] as session:
        assert session.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert session.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)
        assert session.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert session.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 41
        assert session.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 7
        assert session.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 5
    group.close()


def test_group_options_changed_hold_for_connections_from_then_on(group: ListeningGroup) -> None:
    group.apply(TcpOptions(backlog=7, keepalive=None))
    for sock in sockets_of(group):
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert backlog_of(sock) == 7
    group.apply(TcpOptions(backlog=9, keepalive=Keepalive(idle_s=50)))
    for sock in sockets_of(group):
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 50
        assert backlog_of(sock) == 9


def test_group_options_changed_loses_nobody_who_waits(group: ListeningGroup) -> None:
    with clients(group.address, MANY):
        group.apply(TcpOptions(backlog=2048))
        assert sum(accepted_by_each(sockets_of(group))) == MANY


def backlog_of(listening: socket.socket) -> int:
    """tcpi_sacked of a listening socket."""
    return int.from_bytes(listening.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)[28:32], "little")


# ---- Who may be there beside it ----


def test_claim_free_address_passes_and_leaves_it_free(group: ListeningGroup) -> None:
    address = group.address
    group.close()
    claim(address)
    claim(address)


def test_claim_address_of_another_lb_of_the_same_user_is_refused(group: ListeningGroup) -> None:
    """The trap: SO_REUSEPORT alone joins it, and each of the two gets half of the connections."""
    silently_shared = ListeningGroup(group.address, TcpOptions(), 1)
    silently_shared.close()
    with pytest.raises(OSError) as refused:
        claim(group.address)
    assert refused.value.errno == errno.EADDRINUSE


def test_claim_port_with_sessions_in_time_wait_passes(group: ListeningGroup) -> None:
    with connect(group.address) as client:
        for sock in sockets_of(group):
            for session in accept_all(sock):
                session.close()  # first: the TIME_WAIT is ours
        assert client.recv(1) == b""
    group.close()
    claim(group.address)


@needs_ipv6
def test_group_of_ipv6_leaves_the_port_to_ipv4() -> None:
    """The trap: without IPV6_V6ONLY, [::]:80 takes IPv4 too, and 0.0.0.0:80 cannot be bound beside it."""
    with socket.socket(socket.AF_INET6) as greedy:
        greedy.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        greedy.bind(("::", 0))
        greedy.listen()
        with pytest.raises(OSError) as refused:
            claim(Address("0.0.0.0", greedy.getsockname()[1]))
        assert refused.value.errno == errno.EADDRINUSE
    of_ipv6 = ListeningGroup(Address("::", free_port()), TcpOptions(), 1)
    of_ipv6.listen()
    of_ipv4 = Address("0.0.0.0", of_ipv6.address.port)
    claim(of_ipv4)
    assert is_refused(Address("127.0.0.1", of_ipv4.port))
    assert not is_refused(Address("::1", of_ipv4.port))
    of_ipv6.close()


@needs_root
def test_group_given_to_a_user_lets_sockets_of_that_user_join(group: ListeningGroup) -> None:
    """The trap: lb binds as root, drops root, and a socket that it makes then cannot join."""
    with pytest.raises(OSError) as refused:
        bound_by(NOBODY, group.address)
    assert refused.value.errno == errno.EADDRINUSE
    for sock in sockets_of(group):
        os.fchown(sock.fileno(), NOBODY, NOBODY)
    with bound_by(NOBODY, group.address) as joined:
        joined.listen(1000)
        with clients(group.address, MANY):
            accepted_by_each([*sockets_of(group), joined])


def bound_by(user_id: int, address: Address) -> socket.socket:
    """As a process of that user would bind it: a socket belongs to who made it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.setblocking(False)
    os.fchown(sock.fileno(), user_id, user_id)
    try:
        sock.bind((address.host, address.port))
    except OSError:
        sock.close()
        raise
    return sock


# ---- Shrinking ----


async def test_shrink_last_socket_closes_and_the_others_get_everybody(group: ListeningGroup) -> None:
    kept = sockets_of(group)[:2]
    assert await group.shrink(Lookout()) == 0
    assert sockets_of(group) == kept
    with clients(group.address, MANY):
        accepted = accepted_by_each(kept)
    assert sum(accepted) == MANY
    assert all(accepted)


async def test_shrink_while_it_waits_nobody_new_comes_to_the_last_socket(group: ListeningGroup) -> None:
    """The trap: on a busy port its queue is never empty, and whoever comes last is reset."""
    last = group.sockets[-1].sock
    with clients(group.address, MANY):
        shrinking = asyncio.create_task(group.shrink(Lookout()))
        await let_it_look(shrinking)
        waiting = accept_queue(last)
        with clients(group.address, MANY):
            assert accept_queue(last) == waiting
        accepted_by_each(sockets_of(group))
        assert await shrinking == 0


async def test_shrink_waits_for_who_is_in_the_accept_queue(group: ListeningGroup) -> None:
    """The trap: closing the socket resets whoever it had not accepted yet."""
    last = group.sockets[-1].sock
    with clients(group.address, MANY):
        waiting = accept_queue(last)
        assert waiting > 0
        shrinking = asyncio.create_task(group.shrink(Lookout()))
        await let_it_look(shrinking)
        for session in accept_all(last):
            session.close()
        assert await shrinking == 0
    assert last.fileno() == -1


async def test_shrink_waits_for_handshakes_under_way_of_its_own_and_no_others(group: ListeningGroup) -> None:
    """The trap: a client whose last ACK is on its way is reset too."""
    last = group.sockets[-1].sock
    for sock in sockets_of(group):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)  # to the kernel they are under way
    with ExitStack() as stack:
        under_way = [stack.enter_context(connect(group.address)) for _ in range(MANY)]
        shrinking = asyncio.create_task(group.shrink(Lookout()))
        await let_it_look(shrinking)
        stack.enter_context(connect(group.address))  # of another index: it may stay under way for ever
        for client in under_way:
            client.sendall(b"x")
        await until(lambda: accept_queue(last), "a client of the last index completed its handshake")
        await let_it_look(shrinking)
        for session in accept_all(last):
            session.close()
        assert await shrinking == 0
        assert len(at(group.address, handshakes())) == 1


async def test_shrink_when_time_is_up_says_how_many_it_lost(group: ListeningGroup) -> None:
    with clients(group.address, MANY):
        waiting = accept_queue(group.sockets[-1].sock)
        assert await group.shrink(Lookout(), empty_s_max=0.05) == waiting > 0


async def test_shrink_group_of_one_is_refused() -> None:
    group = ListeningGroup(LOOPBACK, TcpOptions(), 1)
    with pytest.raises(ValueError, match="does not shrink"):
        await group.shrink(Lookout())
    group.close()


# ---- Ending ----


async def test_end_empty_group_clients_are_refused_at_once(group: ListeningGroup) -> None:
    assert await group.end(Lookout()) == 0
    assert is_refused(group.address, timeout_s=1.0)


async def test_end_copy_of_the_descriptor_accepts_nobody_any_more(group: ListeningGroup) -> None:
    """The trap: close() ends only our own descriptor; what a worker holds would go on accepting for ever."""
    copies = [sock.dup() for sock in sockets_of(group)]
    with ExitStack() as stack:
        for copy in copies:
            stack.enter_context(copy)
        await group.end(Lookout())
        assert is_refused(group.address, timeout_s=1.0)


async def test_end_waits_for_who_connected_before_and_admits_nobody_new(group: ListeningGroup) -> None:
    listening = sockets_of(group)
    with clients(group.address, MANY):
        ending = asyncio.create_task(group.end(Lookout()))
        await let_it_look(ending)
        assert is_ignored(group.address)
        assert sum(accepted_by_each(listening)) == MANY
        assert await ending == 0
    assert is_refused(group.address, timeout_s=1.0)


async def test_end_client_that_was_ignored_is_refused_when_it_tries_again(group: ListeningGroup) -> None:
    listening = sockets_of(group)
    with connect(group.address):
        ending = asyncio.create_task(group.end(Lookout()))
        await let_it_look(ending)
        late = asyncio.create_task(asyncio.to_thread(is_refused, group.address))
        await let_it_look(ending)
        accepted_by_each(listening)
        assert await ending == 0
    assert await late


async def test_end_cancelled_and_readmitted_goes_on_as_if_nothing_had_been(group: ListeningGroup) -> None:
    with connect(group.address):
        ending = asyncio.create_task(group.end(Lookout()))
        await let_it_look(ending)
        ending.cancel()
        await asyncio.wait([ending])
        group.readmit()
        with clients(group.address, MANY):
            assert sum(accepted_by_each(sockets_of(group))) == MANY + 1


async def test_end_when_time_is_up_says_how_many_it_lost(group: ListeningGroup) -> None:
    with clients(group.address, 5):
        assert await group.end(Lookout(), empty_s_max=0.05) == 5


async def let_it_look(waiting: asyncio.Task[int]) -> None:
    """Give an emptying every chance to end too early: it looks after 10, 20, 40, 80 ms."""
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done, "it did not wait"
