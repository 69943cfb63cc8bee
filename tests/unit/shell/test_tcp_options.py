"""Each key under `tcp:`, as accepted connections have it; and errors that say what to do."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lb.model.address import Address
from lb.model.listener import Keepalive, TcpOptions
from lb.shell.bind_problem import SocketRefused
from lb.shell.sockets import ListeningGroup
from lb.shell.tcp_options import IP_FREEBIND, IP_TRANSPARENT, IPV6_TRANSPARENT
from tests.support.connecting import accept_all, connect, needs_ipv6
from tests.support.netns import run_in_netns
from tests.support.source import ROOT

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="marks and the like are root's")

LOOPBACK = Address("127.0.0.1", 0)
TCP, IP, SOL = socket.IPPROTO_TCP, socket.IPPROTO_IP, socket.SOL_SOCKET


def available() -> set[str]:
    return set(Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split())


def option(sock: socket.socket, level: int, name: int) -> int:
    return sock.getsockopt(level, name)


def congestion(sock: socket.socket) -> str:
    return sock.getsockopt(TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0").decode()


class Seen:
    """A group, and what a session that comes now has."""

    def __init__(self, address: Address = LOOPBACK, **options: Any) -> None:
        self.group = ListeningGroup(address, TcpOptions(**options), 1)
        self.group.listen()

    def session(self) -> socket.socket:
        with connect(self.group.address) as client:
            client.sendall(b"x")
            sock = self.group.sockets[0].sock
            sock.settimeout(5.0)
            session, _ = sock.accept()
            sock.setblocking(False)
            return session

    def option(self, level: int, name: int) -> int:
        with self.session() as session:
            return option(session, level, name)

    def congestion(self) -> str:
        with self.session() as session:
            return congestion(session)

    def apply(self, **changes: Any) -> None:
        self.group.apply(replace(self.group.options, **changes))

    def __enter__(self) -> Seen:
        return self

    def __exit__(self, *error: object) -> None:
        self.group.close()


@needs_root
@pytest.mark.parametrize(
    ("key", "value", "other", "level", "name", "seen", "seen_other"),
    [
        ("mark", 42, 7, SOL, socket.SO_MARK, 42, 7),
        ("dscp", 46, 10, IP, socket.IP_TOS, 184, 40),
        ("transparent", True, True, IP, IP_TRANSPARENT, 1, 1),
    ],
)
def test_option_is_inherited_changed_and_taken_back(
    key: str, value: Any, other: Any, level: int, name: int, seen: int, seen_other: int
) -> None:
    with Seen() as plain:
        usual = plain.option(level, name)
    with Seen(**{key: value}) as made:
        assert made.option(level, name) == seen
        made.apply(**{key: other})
        assert made.option(level, name) == seen_other
        made.apply(**{key: TcpOptions.__dataclass_fields__[key].default})
        assert made.option(level, name) == usual


def test_mss_is_agreed_on_with_clients_changed_and_taken_back() -> None:
    def agreed(of: Seen) -> int:
        with connect(of.group.address) as client:
            return option(client, TCP, socket.TCP_MAXSEG)

    with Seen() as plain:
        usual = agreed(plain)
    with Seen(mss=1000) as made:
        assert 900 < agreed(made) <= 1000
        made.apply(mss=500)
        assert 400 < agreed(made) <= 500
        made.apply(mss=None)
        assert agreed(made) == usual


def test_congestion_is_inherited_changed_and_taken_back() -> None:
    with Seen() as plain:
        usual = plain.congestion()
    chosen = sorted(available() - {usual})
    if not chosen:
        pytest.skip("this kernel has a single congestion control")
    with Seen(congestion=chosen[0]) as made:
        assert made.congestion() == chosen[0]
        made.apply(congestion=usual)
        assert made.congestion() == usual
        made.apply(congestion=chosen[0])
        made.apply(congestion=None)
        assert made.congestion() == usual


def test_defer_accept_waits_for_the_first_byte() -> None:
    with Seen(defer_accept=True) as made:
        [sock] = [member.sock for member in made.group.sockets]
        with connect(made.group.address) as silent:
            assert accept_all(sock) == []
            made.apply(defer_accept=False)
            with connect(made.group.address):
                [session] = accept_all(sock)
                session.close()
            silent.sendall(b"x")
            sock.settimeout(5.0)
            sock.accept()[0].close()


def test_fast_open_queue_follows_the_backlog() -> None:
    """Whether the kernel lets servers do it is net.ipv4.tcp_fastopen's business."""
    with Seen(fast_open=True, backlog=77) as made:
        [sock] = [member.sock for member in made.group.sockets]
        assert option(sock, TCP, socket.TCP_FASTOPEN) == 77
        made.apply(backlog=88)
        assert option(sock, TCP, socket.TCP_FASTOPEN) == 88
        made.apply(fast_open=False)
        assert option(sock, TCP, socket.TCP_FASTOPEN) == 0


FAST_OPEN = """
import socket
from pathlib import Path
from lb.model.address import Address
from lb.model.listener import TcpOptions
from lb.shell.sockets import ListeningGroup
Path("/proc/sys/net/ipv4/tcp_fastopen").write_text("3")
group = ListeningGroup(Address("127.0.0.1", 0), TcpOptions(fast_open=True), 1)
group.listen()
sock = group.sockets[0].sock
sock.settimeout(10)
for _ in range(2):  # the first gets the cookie
    client = socket.socket()
    client.sendto(b"hello", socket.MSG_FASTOPEN, ("127.0.0.1", group.address.port))
    session, _ = sock.accept()
    session.settimeout(10)
    assert session.recv(5) == b"hello"
    sent_with_syn = client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)[5] & 32  # TCPI_OPT_SYN_DATA
    client.close()
    session.close()
print(bool(sent_with_syn))
"""


def test_fast_open_takes_data_with_the_syn() -> None:
    assert run_in_netns(FAST_OPEN) == "True\n"


def test_keepalive_goes_and_comes_back() -> None:
    with Seen(keepalive=Keepalive(40, 5, 4)) as made:
        assert made.option(TCP, socket.TCP_KEEPIDLE) == 40
        made.apply(keepalive=None)
        assert made.option(SOL, socket.SO_KEEPALIVE) == 0
        made.apply(keepalive=Keepalive(50, 5, 4))
        assert made.option(SOL, socket.SO_KEEPALIVE) == 1
        assert made.option(TCP, socket.TCP_KEEPIDLE) == 50


@needs_root
@needs_ipv6
def test_option_of_ipv6_has_its_own_number() -> None:
    with Seen(Address("::1", 0), dscp=46, transparent=True) as made:
        assert made.option(socket.IPPROTO_IPV6, socket.IPV6_TCLASS) == 184
        assert made.option(socket.IPPROTO_IPV6, IPV6_TRANSPARENT) == 1


# ---- Where a socket may be ----


@pytest.mark.parametrize(
    "options", [{"freebind": True}, pytest.param({"transparent": True}, marks=needs_root)]
)
def test_address_that_this_machine_has_not_can_be_bound(options: dict[str, bool]) -> None:
    with Seen(Address("192.0.2.1", 0), **options) as made:
        assert made.group.sockets[0].sock.getsockname()[0] == "192.0.2.1"


def test_freebind_is_set_on_the_socket_that_is_bound() -> None:
    with Seen(freebind=True) as made:
        assert option(made.group.sockets[0].sock, IP, IP_FREEBIND) == 1


# ---- Refusals ----


def test_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(SocketRefused) as refused:
        ListeningGroup(LOOPBACK, TcpOptions(interface="none0"), 1)
    assert (str(refused.value), refused.value.suggestion) == (
        "tcp.interface: there is no interface 'none0'",
        "see `ip link`",
    )


def test_congestion_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(SocketRefused, match=r"tcp.congestion: this kernel has no 'nosuch'") as refused:
        ListeningGroup(LOOPBACK, TcpOptions(congestion="nosuch"), 1)
    assert all(name in str(refused.value.suggestion) for name in available())


WITHOUT_RIGHTS = """
import os
from lb.model.address import Address
from lb.model.listener import TcpOptions
from lb.shell.sockets import ListeningGroup
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
for options in (TcpOptions(mark=1), TcpOptions(transparent=True)):
    try:
        ListeningGroup(Address("127.0.0.1", 0), options, 1)
    except OSError as error:
        print(error, "|", error.suggestion)
"""


def test_option_without_the_right_says_which_it_takes() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_RIGHTS], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    end = "lb keeps that for `user` if what it starts with needs it: restart it"
    assert done.stdout.splitlines() == [
        f"tcp.mark: operation not permitted | it takes CAP_NET_ADMIN; {end}",
        f"tcp.transparent: operation not permitted | it takes CAP_NET_RAW or CAP_NET_ADMIN; {end}",
    ]


def test_apply_that_fails_can_be_taken_back() -> None:
    with Seen() as made:
        before = made.group.options
        with pytest.raises(SocketRefused):
            made.apply(mss=700, congestion="nosuch")
        made.group.apply(before)
        assert made.group.options == before
        with connect(made.group.address) as client:
            assert option(client, TCP, socket.TCP_MAXSEG) > 700
