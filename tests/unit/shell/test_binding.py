"""All or nothing, in words that help; and addresses that stay, move, leave and come back."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from lb.model.address import Address
from lb.model.listener import Keepalive, Listener, TcpOptions
from lb.shell.binding import Binder, BindError, Bound, Standing
from tests.support.async_waiting import until
from tests.support.connecting import accept_all, connect, is_ignored, is_refused
from tests.support.open_fds import open_fds
from tests.support.ports import free_port, free_ports

WORKERS = 2
OPTIONS = TcpOptions()


class Bindings(Binder):
    """A binder that remembers what ended, for listeners named by their addresses."""

    def __init__(self) -> None:
        super().__init__(WORKERS, lambda standing, lost: self.ended.append((standing, lost)))
        self.ended: list[tuple[Standing, int]] = []

    def open(self, *listeners: Listener) -> Bound:
        bound = self.bind(listeners)
        self.take(bound, {one.name: number for number, one in enumerate(listeners)})
        return bound

    def numbers(self) -> list[int]:
        return sorted(member.number for one in self.standing() for member in one.group.sockets)


@pytest.fixture
def binder() -> Iterator[Bindings]:
    made = Bindings()
    yield made
    made.close()


def listener(name: str, *ports: int, host: str = "127.0.0.1", tcp: TcpOptions = OPTIONS) -> Listener:
    return Listener(name, tuple(Address(host, port) for port in ports), "pool", tcp=tcp)


def local(port: int) -> Address:
    return Address("127.0.0.1", port)


def serve_all(binder: Binder) -> int:
    """As workers would: how many clients waited."""
    sessions = [
        session
        for standing in binder.groups()
        for member in standing.group.sockets
        for session in accept_all(member.sock)
    ]
    for session in sessions:
        session.close()
    return len(sessions)


# ---- All or nothing ----


def test_bind_every_address_listens_and_discard_leaves_nothing(binder: Bindings) -> None:
    ports = free_ports(3)
    before = open_fds()
    bound = binder.bind([listener("web", ports[0], ports[1]), listener("api", ports[2])])
    assert len(bound.sockets()) == 3 * WORKERS
    assert not any(is_refused(local(port)) for port in ports)
    bound.discard()
    assert all(is_refused(local(port)) for port in ports)
    assert open_fds() == before


def test_bind_one_address_taken_opens_none_and_names_listener_address_and_cure(binder: Bindings) -> None:
    free, taken = free_ports(2)
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(BindError) as refused:
        binder.bind([listener("web", free), listener("api", taken)])
    assert str(refused.value) == (
        f"listeners.api: cannot listen on 127.0.0.1:{taken}: address already in use; "
        f"another program listens there: see `ss -ltnp 'sport = :{taken}'`"
    )
    assert is_refused(local(free))


def test_bind_one_address_taken_nobody_could_connect_to_the_others(
    binder: Bindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trap: who connects to an address that is closed again a moment later is reset."""
    first, second = free_ports(2)
    refused_meanwhile = []

    def claim(address: Address) -> None:
        if address.port == second:
            refused_meanwhile.append(is_refused(local(first)))
            raise OSError(errno.EADDRINUSE, "taken")

    monkeypatch.setattr("lb.shell.binding.claim", claim)
    with pytest.raises(BindError):
        binder.bind([listener("web", first, second)])
    assert refused_meanwhile == [True]


def test_bind_all_problems_are_told_at_once(binder: Bindings) -> None:
    taken = free_port()
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(BindError) as refused:
        binder.bind([listener("web", taken), listener("far", 80, host="192.0.2.1")])
    first, second = refused.value.problems
    assert first.listener == "web"
    assert (second.listener, second.address) == ("far", Address("192.0.2.1", 80))
    assert second.suggestion == "no interface has this address: see `ip address`"


def test_bind_address_of_another_lb_of_the_same_user_is_refused(binder: Bindings) -> None:
    """The trap: SO_REUSEPORT would join it silently."""
    port = free_port()
    binder.open(listener("web", port))
    other = Bindings()
    with pytest.raises(BindError, match="another program listens there"):
        other.bind([listener("web", port)])


def test_bind_port_below_1024_without_the_right_says_what_it_takes(
    binder: Bindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(address: Address) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("lb.shell.binding.claim", refused)
    with pytest.raises(BindError, match=r"ports below 1024 need root or CAP_NET_BIND_SERVICE"):
        binder.bind([listener("web", 80)])


# ---- Addresses that stay ----


def test_bind_port_0_is_a_port_of_each_listener(binder: Bindings) -> None:
    binder.open(listener("web", 0, 0), listener("api", 0))
    addresses = [standing.group.address for standing in binder.standing()]
    assert len(set(addresses)) == 3
    assert not any(is_refused(address) for address in addresses)
    before = binder.numbers()
    assert not binder.open(listener("web", 0, 0), listener("api", 0)).made
    assert binder.numbers() == before


def test_bind_address_that_stands_keeps_its_sockets(binder: Bindings) -> None:
    port = free_port()
    binder.open(listener("web", port))
    before = binder.numbers()
    with connect(local(port)):
        assert not binder.open(listener("web", port)).made
        assert serve_all(binder) == 1
    assert binder.numbers() == before


def test_bind_address_moved_to_another_listener_keeps_its_sockets(binder: Bindings) -> None:
    first, second = free_ports(2)
    binder.open(listener("web", first), listener("api", second))
    before = binder.numbers()
    binder.open(listener("api", first), listener("new", second))
    assert binder.numbers() == before
    assert {one.group.address.port: (one.listener, one.listener_id) for one in binder.standing()} == {
        first: ("api", 0),
        second: ("new", 1),
    }


def test_bind_changed_backlog_and_keepalive_are_set_on_standing_sockets(binder: Bindings) -> None:
    port = free_port()
    binder.open(listener("web", port))
    changed = TcpOptions(backlog=77, keepalive=Keepalive(idle_s=99))
    bound = binder.bind([listener("web", port, tcp=changed)])
    [standing] = binder.standing()
    assert standing.group.options == TcpOptions(), "not before it is taken"
    binder.take(bound, {"web": 0})
    for member in standing.group.sockets:
        assert member.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 99


async def test_bind_from_a_wildcard_to_one_address_needs_no_gap(binder: Bindings) -> None:
    """The trap: our own 0.0.0.0:80 looks like another program that listens on 10.0.0.1:80."""
    port = free_port()
    binder.open(listener("web", port, host="0.0.0.0"))
    binder.open(listener("web", port))
    binder.leave_absent([listener("web", port)])
    await until(lambda: binder.ended, "the wildcard group ended")
    assert not is_refused(local(port))
    assert is_refused(Address("127.0.0.2", port))


# ---- Addresses that leave, and come back ----


async def test_leave_absent_ends_when_the_last_client_was_accepted(binder: Bindings) -> None:
    gone, kept = free_ports(2)
    binder.open(listener("web", gone, kept))
    with connect(local(gone)):
        binder.leave_absent([listener("web", kept)])
        await until(lambda: is_ignored(local(gone), timeout_s=0.05), "nobody is admitted any more")
        assert not binder.ended
        assert serve_all(binder) >= 1
        await until(lambda: binder.ended, "the group ended")
    [(standing, lost)] = binder.ended
    assert (standing.group.address, lost) == (local(gone), 0)
    assert is_refused(local(gone), timeout_s=1.0)
    assert not is_refused(local(kept))


async def test_bind_address_that_is_leaving_takes_it_back_without_closing_it(binder: Bindings) -> None:
    port = free_port()
    binder.open(listener("web", port))
    before = binder.numbers()
    with connect(local(port)):
        binder.leave_absent([])
        await until(lambda: is_ignored(local(port), timeout_s=0.05), "nobody is admitted any more")
        binder.open(listener("web", port))
        assert binder.numbers() == before
        with connect(local(port)):
            assert serve_all(binder) >= 2
    assert not binder.ended


async def test_discard_address_that_was_taken_back_leaves_after_all(binder: Bindings) -> None:
    port = free_port()
    binder.open(listener("web", port))
    with connect(local(port)):
        binder.leave_absent([])
        await until(lambda: is_ignored(local(port), timeout_s=0.05), "nobody is admitted any more")
        binder.bind([listener("web", port)]).discard()
        serve_all(binder)
        await until(lambda: binder.ended, "the group ended")
    assert is_refused(local(port), timeout_s=1.0)


async def test_discard_after_it_was_taken_leaves_in_order(binder: Bindings) -> None:
    """A reload that fails in its last step undoes itself so; workers may hold the sockets by then."""
    port = free_port()
    bound = binder.open(listener("web", port))
    with connect(local(port)):
        bound.discard()
        assert not binder.standing()
        assert len(binder.groups()) == 1
        await until(lambda: serve_all(binder), "the client was accepted")
        await until(lambda: binder.ended, "the group ended")
    assert binder.ended[0][1] == 0


async def test_end_all_in_time_loses_nobody(binder: Bindings) -> None:
    ports = free_ports(2)
    binder.open(listener("web", *ports))
    await binder.end_all(5.0)
    assert [lost for _, lost in binder.ended] == [0, 0]
    assert all(is_refused(local(port), timeout_s=1.0) for port in ports)


async def test_end_all_when_time_is_up_closes_with_what_is_left(binder: Bindings) -> None:
    port = free_port()
    binder.open(listener("web", port))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connect(local(port)))
        await binder.end_all(0.05)
    assert [lost for _, lost in binder.ended] == [3]
    assert is_refused(local(port), timeout_s=1.0)
