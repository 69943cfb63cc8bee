"""What still waits at a listening socket."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from lb.model.address import Address
from lb.shell.sock_diag import (
    Handshake,
    accept_queue,
    at,
    handshakes,
    handshakes_by_netlink,
    handshakes_by_proc,
)
from lb.shell.tcp_socket import bound_socket
from tests.support.connecting import clients, connect, needs_ipv6

LOOKS = pytest.mark.parametrize("look", [handshakes, handshakes_by_netlink, handshakes_by_proc])
HOSTS = pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])

Look = Callable[[], frozenset[Handshake]]


def listening(host: str, *, handshakes_stay: bool = False) -> tuple[socket.socket, Address]:
    """`handshakes_stay`: to the kernel the handshake is under way until the client sends a byte."""
    sock = bound_socket(Address(host, 0), reuse_port=True)
    if handshakes_stay:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
    sock.listen(100)
    return sock, Address(*sock.getsockname()[:2])


def seen(client: socket.socket) -> Handshake:
    """As the other side sees it."""
    (host, port), (peer_host, peer_port) = client.getpeername()[:2], client.getsockname()[:2]
    family = client.family
    return Handshake(socket.inet_pton(family, host), port, socket.inet_pton(family, peer_host), peer_port)


@HOSTS
def test_accept_queue_counts_who_was_not_accepted(host: str) -> None:
    sock, address = listening(host)
    with sock, clients(address, 3):
        assert accept_queue(sock) == 3
        sock.accept()[0].close()
        assert accept_queue(sock) == 2


def test_accept_queue_of_a_socket_that_does_not_listen_is_empty() -> None:
    with bound_socket(Address("127.0.0.1", 0), reuse_port=True) as sock:
        assert accept_queue(sock) == 0


@LOOKS
@HOSTS
def test_handshakes_under_way_are_seen_until_they_complete(look: Look, host: str) -> None:
    sock, address = listening(host, handshakes_stay=True)
    with sock, connect(address) as one, connect(address) as other:
        assert at(address, look()) == {seen(one), seen(other)}
        assert accept_queue(sock) == 0
        one.sendall(b"x")
        assert at(address, look()) == {seen(other)}
        assert accept_queue(sock) == 1


@LOOKS
def test_handshakes_of_another_address_or_port_are_not_counted(look: Look) -> None:
    sock, address = listening("127.0.0.1", handshakes_stay=True)
    with sock, connect(address):
        assert at(Address("127.0.0.2", address.port), look()) == frozenset()
        assert at(Address("127.0.0.1", address.port ^ 1), look()) == frozenset()


@LOOKS
@pytest.mark.parametrize(("wildcard", "host"), [("0.0.0.0", "127.0.0.1"), ("::", "::1")])
def test_handshakes_at_a_wildcard_address_are_those_of_its_family(
    look: Look, wildcard: str, host: str
) -> None:
    sock, address = listening(host, handshakes_stay=True)
    with sock, connect(address) as client:
        assert at(Address(wildcard, address.port), look()) == {seen(client)}


def test_handshakes_without_netlink_are_read_from_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(netns: str | None) -> frozenset[Handshake]:
        raise PermissionError("a sandbox")

    monkeypatch.setattr("lb.shell.sock_diag.handshakes_by_netlink", refused)
    sock, address = listening("127.0.0.1", handshakes_stay=True)
    with sock, connect(address) as client:
        assert at(address, handshakes()) == {seen(client)}


def test_at_wildcard_address_is_of_one_family_only() -> None:
    of_ipv4 = Handshake(bytes(4), 80, bytes(4), 1)
    of_ipv6 = Handshake(bytes(16), 80, bytes(16), 1)
    assert at(Address("0.0.0.0", 80), {of_ipv4, of_ipv6}) == {of_ipv4}
    assert at(Address("::", 80), {of_ipv4, of_ipv6}) == {of_ipv6}
