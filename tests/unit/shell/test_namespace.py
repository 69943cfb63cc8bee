"""Sockets of another network namespace: made there, used here, and let go of."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lb.shell import namespace
from lb.shell.bind_problem import SocketRefused
from lb.shell.namespace import within
from tests.support.netns import run_in_netns
from tests.support.source import ROOT


def test_within_no_namespace_calls_at_once() -> None:
    assert within(None, threading.get_ident) == threading.get_ident()
    assert not namespace.entered


def test_within_namespace_that_is_not_there_is_named() -> None:
    with pytest.raises(SocketRefused, match=r"tcp.netns: there is no network namespace 'none'") as refused:
        within("none", os.getpid)
    assert refused.value.suggestion == "see `ip netns`"
    assert not namespace.entered


@pytest.mark.parametrize("path", ["/proc/self/ns/mnt", "/proc/version"])
def test_within_what_is_no_network_namespace_is_refused(path: str) -> None:
    with pytest.raises(SocketRefused):
        within(path, os.getpid)


def test_within_without_the_right_says_what_it_takes() -> None:
    program = """
import os
from lb.shell.namespace import within
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
try:
    within("/proc/thread-self/ns/net", os.getpid)
except OSError as error:
    print(error, "|", error.suggestion)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=30
    )
    assert done.stdout == (
        "tcp.netns: may not enter '/proc/thread-self/ns/net' | "
        "to enter one takes CAP_SYS_ADMIN, which lb gives up for `user`: restart it\n"
    ), done.stderr


PRELUDE = """
import asyncio, os, socket, subprocess, sys, threading
from pathlib import Path
from lb.model.address import Address
from lb.model.listener import Listener, TcpOptions
from lb.shell import namespace
from lb.shell.namespace import leave_all_but, within
from lb.shell.lookout import Lookout
from lb.shell.sockets import ListeningGroup
from tests.support.connecting import accept_all, accepted_by_each, is_ignored, is_refused
from tests.support.netns import neighbour
from tests.support.open_fds import open_fds

def inode():
    return Path("/proc/thread-self/ns/net").stat().st_ino

def client(netns, host, port, timeout_s=5.0):
    made = within(netns, socket.socket)
    made.settimeout(timeout_s)
    made.connect((host, port))
    return made
"""


def test_within_runs_there_and_the_rest_of_us_stays() -> None:
    script = """
here = inode()
with neighbour("n0", "10.9.0.1", "10.9.0.2") as there:
    assert within(there, inode) == Path(there).stat().st_ino != here
    assert inode() == here
    found = within(there, threading.current_thread)
    assert within(there, threading.current_thread) is found
    try:
        within(there, lambda: 1 / 0)
    except ZeroDivisionError:
        pass
    leave_all_but({there})
    assert found.is_alive()
    leave_all_but(set())
    assert not found.is_alive() and not namespace.entered
    assert within(there, inode) != here
print("done")
"""
    assert run_in_netns(PRELUDE + script) == "done\n"


def test_within_a_namespace_made_anew_under_its_name_enters_the_new_one(tmp_path: Path) -> None:
    script = """
with neighbour("n0", "10.9.0.1", "10.9.0.2") as first, neighbour("n1", "10.9.1.1", "10.9.1.2") as second:
    name = Path(sys.argv[1]) / "named"
    name.symlink_to(first)
    assert within(str(name), inode) == Path(first).stat().st_ino
    name.unlink()
    name.symlink_to(second)
    assert within(str(name), inode) == Path(second).stat().st_ino
    name.unlink()
    try:
        within(str(name), inode)
    except OSError as error:
        print(error)
"""
    printed = run_in_netns(PRELUDE + script, str(tmp_path))
    assert printed.startswith("tcp.netns: there is no network namespace")


def test_group_in_a_namespace_listens_there_and_ends_as_anywhere() -> None:
    script = """
async def main():
    with neighbour("n0", "10.9.0.1", "10.9.0.2") as there:
        group = ListeningGroup(Address("0.0.0.0", 8000), TcpOptions(netns=there), 2)
        group.listen()
        assert is_refused(Address("127.0.0.1", 8000))
        clients = [client(None, "10.9.0.2", 8000) for _ in range(20)]
        clients += [client(there, "127.0.0.1", 8000) for _ in range(20)]
        listening = [member.sock for member in group.sockets]
        assert all(accepted := accepted_by_each(listening)) and sum(accepted) == 40, accepted
        waiting = client(None, "10.9.0.2", 8000)
        ending = asyncio.create_task(group.end(Lookout(there)))
        await asyncio.wait([ending], timeout=0.3)
        assert not ending.done()
        assert is_ignored(Address("10.9.0.2", 8000))
        assert sum(accepted_by_each(listening)) == 1
        assert await ending == 0
        assert is_refused(Address("10.9.0.2", 8000))
asyncio.run(main())
print("done")
"""
    assert run_in_netns(PRELUDE + script) == "done\n"


def test_handshakes_of_a_namespace_are_seen_in_it_alone() -> None:
    script = """
from lb.shell.sock_diag import at, handshakes_by_netlink, handshakes_by_proc
with neighbour("n0", "10.9.0.1", "10.9.0.2") as there:
    group = ListeningGroup(Address("10.9.0.2", 8000), TcpOptions(netns=there, defer_accept=True), 1)
    group.listen()
    silent = client(there, "10.9.0.2", 8000)
    for look in (handshakes_by_netlink, handshakes_by_proc):
        assert len(at(group.address, look(there))) == 1, look
        assert not look(None), look
print("done")
"""
    assert run_in_netns(PRELUDE + script) == "done\n"


# ---- Interfaces ----


INTERFACES = """
async def main():
    with neighbour("n0", "10.9.0.1", "10.9.0.2") as one, neighbour("n1", "10.9.1.1", "10.9.1.2") as other:
        {script}
asyncio.run(main())
print("done")
"""


def test_group_of_an_interface_takes_who_comes_by_it_and_ends_as_anywhere() -> None:
    script = """
        group = ListeningGroup(Address("0.0.0.0", 8000), TcpOptions(interface="n0"), 2)
        group.listen()
        assert is_refused(Address("127.0.0.1", 8000))
        client(one, "10.9.0.1", 8000)
        try:
            client(other, "10.9.1.1", 8000)
        except ConnectionRefusedError:
            pass
        else:
            raise AssertionError("it came by another interface")
        listening = [member.sock for member in group.sockets]
        assert sum(accepted_by_each(listening)) == 1
        waiting = client(one, "10.9.0.1", 8000)
        ending = asyncio.create_task(group.end(Lookout()))
        await asyncio.wait([ending], timeout=0.3)
        assert not ending.done()
        try:
            client(one, "10.9.0.1", 8000, 0.3)
        except TimeoutError:
            pass
        else:
            raise AssertionError("it was admitted while the group ends")
        assert sum(accepted_by_each(listening)) == 1
        assert await ending == 0
"""
    assert run_in_netns(PRELUDE + INTERFACES.format(script=script.strip())) == "done\n"
