"""All or nothing, in words that help; and addresses that stay, move, leave and come back."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from lb.model.address import Address, UnixAddress
from lb.model.listener import Keepalive, Listener, TcpOptions, UnixSocket
from lb.shell import binding
from lb.shell.bind_problem import BindError
from lb.shell.binding import Binder, Bound, Standing
from tests.support.async_waiting import until
from tests.support.connecting import accept_all, connect, is_ignored, is_refused
from tests.support.netns import run_in_netns
from tests.support.open_fds import open_fds
from tests.support.ports import free_port, free_ports, own_host

WORKERS = 2
OPTIONS, PLAIN = TcpOptions(), UnixSocket()


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

    def claim(address: Address, options: TcpOptions) -> None:
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
    assert second.suggestion == "no interface has this address: see `ip address`, or set tcp.freebind"


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
    def refused(address: Address, options: TcpOptions) -> None:
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


def test_bind_option_that_cannot_be_changed_is_a_problem_and_is_taken_back(binder: Bindings) -> None:
    port = free_port()
    before = listener("web", port, tcp=TcpOptions(mss=1000))
    binder.open(before)
    after = listener("web", port, tcp=TcpOptions(mss=700, congestion="nosuch"))
    bound = binder.bind([after])
    with pytest.raises(BindError, match=rf"cannot listen on 127.0.0.1:{port}: tcp.congestion: this kernel"):
        binder.take(bound, {"web": 0})
    bound.discard()
    binder.open(before)
    with connect(local(port)) as client:
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 700


def test_bind_more_sockets_than_a_worker_can_hold_is_refused() -> None:
    many = Binder(64, lambda standing, lost: None)
    with pytest.raises(BindError, match=r"4096 more: with all others, 262208 sockets for 64 workers"):
        many.bind([listener("web", *range(10000, 10000 + 4097))])


def test_bind_a_thousand_ports_beside_a_thousand_takes_no_thousand_looks_each(
    binder: Bindings, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []
    overlap = binding.overlap
    monkeypatch.setattr(binding, "overlap", lambda one, other: looks.append(one) or overlap(one, other))
    host = own_host()
    first = listener("web", *range(20000, 21000), host=host)
    binder.open(first)
    binder.open(first, listener("api", *range(21000, 22000), host=host))
    assert len(binder.standing()) == 2000
    assert len(looks) < 2000


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


# ---- Paths ----


def at_path(name: str, path: Path, unix: UnixSocket = PLAIN) -> Listener:
    return Listener(name, (UnixAddress(str(path)),), "pool", unix=unix)


def unix_client(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.connect(str(path))
    return made


def test_bind_path_has_one_socket_however_many_workers(binder: Bindings, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    bound = binder.open(at_path("web", path))
    assert len(bound.sockets()) == 1
    assert bound.files() == [path]
    assert not binder.open(at_path("api", path)).made, "it moved to another listener"
    with unix_client(path):
        assert serve_all(binder) == 1


def test_bind_path_with_an_owner_is_not_given_to_another(binder: Bindings, tmp_path: Path) -> None:
    mine = UnixSocket(owner=str(os.geteuid()))
    assert binder.open(at_path("web", tmp_path / "web.sock", mine)).files() == []


def test_bind_path_whose_neighbour_fails_leaves_no_file(binder: Bindings, tmp_path: Path) -> None:
    with pytest.raises(BindError, match="the folder does not exist"):
        binder.bind([at_path("web", tmp_path / "web.sock"), at_path("api", tmp_path / "no" / "api.sock")])
    assert not list(tmp_path.iterdir())


def test_bind_path_that_is_served_by_another_is_refused(binder: Bindings, tmp_path: Path) -> None:
    path = tmp_path / "web.sock"
    binder.open(at_path("web", path))
    other = Bindings()
    with pytest.raises(BindError, match="another program listens there"):
        other.bind([at_path("web", path)])


async def test_bind_path_that_is_leaving_takes_it_back_with_who_waits(
    binder: Bindings, tmp_path: Path
) -> None:
    path = tmp_path / "web.sock"
    binder.open(at_path("web", path))
    before = binder.numbers()
    with unix_client(path):
        binder.leave_absent([])
        await until(lambda: not path.exists(), "nobody is admitted any more")
        binder.open(at_path("web", path))
        assert binder.numbers() == before
        with unix_client(path):
            assert serve_all(binder) == 2
    assert not binder.ended
    binder.leave_absent([])
    await until(lambda: binder.ended, "the group ended")
    assert not list(tmp_path.iterdir())


async def test_end_all_removes_every_file(binder: Bindings, tmp_path: Path) -> None:
    binder.open(at_path("web", tmp_path / "a"), at_path("api", tmp_path / "b"))
    await binder.end_all(5.0)
    assert not list(tmp_path.iterdir())


# ---- Interfaces and namespaces ----


MOVING = """
import asyncio, socket, sys
from lb.model.address import Address
from lb.model.listener import Listener, TcpOptions
from lb.shell import namespace
from lb.shell.binding import Binder
from lb.shell.namespace import within
from tests.support.async_waiting import until
from tests.support.connecting import accept_all
from tests.support.netns import neighbour

async def main():
    ended = []
    binder = Binder(2, lambda standing, lost: ended.append(lost))
    served = refused = 0

    def open(**options):
        listener = Listener("web", (Address("0.0.0.0", 8000),), "pool", tcp=TcpOptions(**options))
        binder.take(binder.bind([listener]), {"web": 0})
        binder.leave_absent([listener])

    def serve():
        nonlocal served
        for standing in binder.groups():
            for member in standing.group.sockets:
                for session in accept_all(member.sock):
                    session.close()
                    served += 1

    async def load(netns, host, until):
        nonlocal refused
        loop, made = asyncio.get_running_loop(), 0
        while not until.is_set():
            with within(netns, socket.socket) as client:
                client.setblocking(False)
                try:
                    await asyncio.wait_for(loop.sock_connect(client, (host, 8000)), 10)
                    serve()
                    assert await asyncio.wait_for(loop.sock_recv(client, 1), 10) == b""
                except ConnectionError:
                    refused += 1
                made += 1
        return made

    with neighbour("n0", "10.9.0.1", "10.9.0.2") as there:
        for before, after in CHANGES(there):
            open(**before)
            over = asyncio.Event()
            loading = asyncio.create_task(load(there, "10.9.0.2" if "netns" in before else "10.9.0.1", over))
            await until(lambda: served > 20, "there is load")
            open(**after)
            await until(lambda: serve() or ended, "the group of before is empty and has ended")
            if after.get("netns") == before.get("netns"):
                served = 0
                await until(lambda: served > 20, "the new group serves")
                over.set()
                assert await loading > 20
                assert refused == 0, refused
            else:
                loading.cancel()
                await asyncio.wait([loading])
                assert set(namespace.entered) <= ({there} if "netns" in after else set())
            assert ended == [0], ended
            binder.close()
            ended.clear()
            served = refused = 0
asyncio.run(main())
print("done")
"""


@pytest.mark.parametrize(
    "changes",
    [
        "({}, {'interface': 'n0'}), ({'interface': 'n0'}, {})",
        "({}, {'netns': there}), ({'netns': there}, {})",
    ],
)
def test_bind_moved_to_an_interface_or_namespace_and_back_loses_nobody(changes: str) -> None:
    script = MOVING.replace("CHANGES(there)", f"[{changes}]")
    assert run_in_netns(script) == "done\n"


# ---- The end ----


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
