"""Dropping root for good, in a process of its own for each test, and what must still work afterwards."""

from __future__ import annotations

import os
import pwd
import random
import subprocess
import sys
from pathlib import Path

import pytest

from lb.model.config import Config
from lb.model.listener import Listener, RefuseBy, TcpOptions
from lb.shell.privileges import PrivilegeError, capabilities_of, drop_privileges, identity
from tests.support.source import ROOT

USER = "nobody"
PORT = 843
UNPRIVILEGED = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or UNPRIVILEGED <= PORT, reason="needs root, and ports that need it"
)

PRELUDE = f"""
import os, socket, subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from lb.model.address import Address
from lb.model.listener import TcpOptions
from lb.shell.privileges import PrivilegeError, drop_privileges, prctl
from lb.shell.sockets import ListeningGroup
address = Address(sys.argv[1], {PORT})
"""

BIND = f"import socket, sys; socket.socket().bind((sys.argv[1], {PORT}))"


def run(program: str, *arguments: str) -> str:
    """What a Python program of its own prints. Raises with what went wrong in it."""
    host = f"127.{random.randrange(1, 255)}.{random.randrange(1, 255)}.1"  # an address nobody else uses
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program, host, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_drop_privileges_is_for_good() -> None:
    program = f"""
drop_privileges({USER!r})
print(os.getresuid(), os.getresgid())
try:
    os.setuid(0)
except PermissionError:
    print("no way back")
"""
    entry = pwd.getpwnam(USER)
    ids = f"{(entry.pw_uid,) * 3} {(entry.pw_gid,) * 3}"
    assert run(program).splitlines() == [ids, "no way back"]


def test_drop_privileges_keeps_the_right_to_bind_a_low_port() -> None:
    """The trap: a reload that adds port 443 fails, weeks after the start."""
    uid = pwd.getpwnam(USER).pw_uid
    assert run(f"os.setresuid({uid}, {uid}, {uid})\n" + try_to_bind()) == "refused\n"
    assert run(f"drop_privileges({USER!r})\n" + try_to_bind()) == "bound\n"


def try_to_bind() -> str:
    return """
try:
    ListeningGroup(address, TcpOptions(), 2).listen()
    print("bound")
except PermissionError:
    print("refused")
"""


def test_drop_privileges_keeps_the_right_over_exec() -> None:
    """The trap: exec() clears what is not ambient, so an upgrade in place, or a new worker, cannot bind."""
    program = f"""
drop_privileges({USER!r})
interpreters = [path for path in (sys.executable, "/usr/bin/python3") if os.access(path, os.X_OK)]
if interpreters:
    done = subprocess.run([interpreters[0], "-c", {BIND!r}, address.host], cwd="/")
    print("bound" if done.returncode == 0 else "refused")
else:
    print("no interpreter")
"""
    printed = run(program)
    if printed == "no interpreter\n":
        pytest.skip(f"{USER} can run no Python here")
    assert printed == "bound\n"


def test_drop_privileges_keeps_no_other_right() -> None:
    program = f"""
drop_privileges({USER!r})
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(*(int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")))
print(status["Groups"].split())
try:
    os.chown("/proc", 0, 0)
except PermissionError:
    print("refused")
"""
    rights, groups, chown = run(program).splitlines()
    assert rights == " ".join([str(1 << 10)] * 4)
    assert groups == str(sorted({str(group) for group in os.getgrouplist(USER, pwd.getpwnam(USER).pw_gid)}))
    assert chown == "refused"


def test_drop_privileges_keeps_what_the_configuration_will_need_again() -> None:
    """The trap: a reload that adds an address to a listener with a mark fails, weeks after the start."""
    program = f"""
drop_privileges({USER!r}, keep=(10, 12, 13))
status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(*(int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")))
ListeningGroup(address, TcpOptions(mark=7, transparent=True), 1).listen()
print("bound")
"""
    rights, bound = run(program).splitlines()
    assert rights == " ".join([str(1 << 10 | 1 << 12 | 1 << 13)] * 4)
    assert bound == "bound"


def test_drop_privileges_thread_in_a_namespace_stays_there_and_has_no_right() -> None:
    """The trap: to enter takes CAP_SYS_ADMIN, so a reload could bind there no more."""
    program = f"""
from lb.shell.namespace import within
there = sys.argv[2]
within(there, os.getpid)
drop_privileges({USER!r})
group = ListeningGroup(address, TcpOptions(netns=there), 1)
group.listen()
status = within(there, lambda: Path("/proc/thread-self/status").read_text())
print(*(line.split()[1] for line in status.splitlines() if line.startswith(("CapPrm", "CapEff", "Uid"))))
"""
    with subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "ip link set lo up; echo; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as holder:  # fmt: skip
        assert holder.stdout is not None
        holder.stdout.readline()
        printed = run(program, f"/proc/{holder.pid}/ns/net")
        holder.kill()
    assert printed.split() == [str(pwd.getpwnam(USER).pw_uid), "0" * 16, "0" * 16]


@pytest.mark.parametrize(
    ("options", "capabilities"),
    [
        (TcpOptions(), {10}),
        (TcpOptions(mark=0), {10, 12}),
        (TcpOptions(transparent=True), {10, 13}),
        (TcpOptions(interface="eth0"), {10, 13}),
        (TcpOptions(congestion="reno"), {10}),
        (TcpOptions(congestion="rare"), {10, 12}),
        (TcpOptions(netns="blue", freebind=True, dscp=46, mss=1400), {10}),
    ],
)
def test_capabilities_of_a_configuration_are_no_more_than_it_needs(
    options: TcpOptions, capabilities: set[int]
) -> None:
    config = Config(listeners=(Listener("web", (), "web", tcp=options),), pools=())
    assert capabilities_of(config) == capabilities


def test_capabilities_of_a_configuration_that_refuses_in_silence_have_what_that_takes() -> None:
    config = Config(listeners=(Listener("web", (), "web", refuse_by=RefuseBy.SILENCE),), pools=())
    assert capabilities_of(config) == {10, 12}


def test_drop_privileges_process_can_still_look_at_itself() -> None:
    """After setuid() /proc/self belongs to root; its own descriptors must still be counted, for metrics."""
    program = f"drop_privileges({USER!r}); print(len(os.listdir('/proc/self/fd')) > 2)"
    assert run(program) == "True\n"


def test_drop_privileges_gives_folders_and_sockets_to_the_user(tmp_path: Path) -> None:
    """The trap: a socket made after the drop cannot join a group that was bound before."""
    program = f"""
group = ListeningGroup(address, TcpOptions(), 1)
drop_privileges({USER!r}, paths=[Path({str(tmp_path)!r})], sockets=[group.sockets[0].sock])
group.listen()
joined = ListeningGroup(address, TcpOptions(), 1)
joined.listen()
print("joined")
"""
    assert run(program) == "joined\n"
    assert tmp_path.owner() == USER


def test_drop_privileges_sockets_that_were_not_given_cannot_be_joined() -> None:
    program = f"""
group = ListeningGroup(address, TcpOptions(), 1)
group.listen()
drop_privileges({USER!r})
try:
    ListeningGroup(address, TcpOptions(), 1)
except OSError as error:
    print(error.strerror)
"""
    assert run(program) == "Address already in use\n"


def test_drop_privileges_without_root_says_who_runs() -> None:
    program = f"""
drop_privileges({USER!r})
drop_privileges({USER!r})
try:
    drop_privileges("root")
except PrivilegeError as error:
    print(error)
"""
    assert run(program) == f"user: only root can become 'root'; lb was started as {USER!r}\n"


def test_drop_privileges_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(PrivilegeError, match=f"cannot give {missing} to '{USER}': No such file"):
        drop_privileges(USER, paths=[missing])


def test_identity_unknown_user_is_named() -> None:
    with pytest.raises(PrivilegeError, match="there is no user 'no-such-user' on this machine"):
        identity("no-such-user")
