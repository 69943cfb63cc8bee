"""A group at a path: who may be let in and when, how its file comes and goes, and that nobody is lost."""

from __future__ import annotations

import asyncio
import errno
import grp
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb.model.address import UnixAddress
from lb.model.listener import TcpOptions, UnixSocket
from lb.shell.bind_problem import SocketRefused
from lb.shell.lookout import Lookout
from lb.shell.sock_diag import accept_queue, unix_queue_by_netlink
from lb.shell.unix_group import UnixGroup
from tests.support.async_waiting import until
from tests.support.connecting import accept_all
from tests.support.open_fds import open_fds
from tests.support.source import ROOT

OPTIONS, PLAIN = TcpOptions(), UnixSocket()
NOBODY = pwd.getpwnam("nobody")

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "web.sock"


@pytest.fixture
def group(path: Path) -> Iterator[UnixGroup]:
    made = group_at(path)
    made.listen()
    yield made
    made.close()


def group_at(path: Path, file: UnixSocket = PLAIN, options: TcpOptions = OPTIONS) -> UnixGroup:
    return UnixGroup(UnixAddress(str(path)), options, file)


def client(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(5.0)
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made


def serve(group: UnixGroup) -> int:
    sessions = accept_all(group.sockets[0].sock)
    for session in sessions:
        session.close()
    return len(sessions)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ---- What it is ----


def test_unix_group_has_one_socket_for_all_workers(group: UnixGroup) -> None:
    assert group.of(0) is group.of(7) is group.sockets[0]
    assert len(group.sockets) == 1


def test_unix_group_before_it_listens_refuses_whoever_may_open_the_file(path: Path) -> None:
    group = group_at(path)
    with pytest.raises(ConnectionRefusedError):
        client(path)
    group.listen()
    client(path).close()
    group.close()


def test_unix_group_takes_the_place_of_a_file_that_nobody_serves(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as killed:
        killed.bind(str(path))
    group = group_at(path)
    group.listen()
    client(path).close()
    group.close()


def test_unix_group_of_a_path_that_is_served_is_refused_and_leaves_it(group: UnixGroup, path: Path) -> None:
    before = open_fds()
    with pytest.raises(OSError, match="in use") as refused:
        group_at(path)
    assert refused.value.errno == errno.EADDRINUSE
    assert open_fds() == before
    client(path).close()


def test_unix_group_in_a_folder_that_is_not_there_leaves_nothing_behind(tmp_path: Path) -> None:
    before = open_fds()
    with pytest.raises(FileNotFoundError):
        group_at(tmp_path / "missing" / "web.sock")
    assert open_fds() == before


def test_unix_group_queue_is_counted(group: UnixGroup, path: Path) -> None:
    held = [client(path) for _ in range(5)]
    assert group.queued() == accept_queue(group.sockets[0].sock) == 5
    assert unix_queue_by_netlink(os.fstat(group.sockets[0].sock.fileno()).st_ino) == 5
    assert serve(group) == 5
    assert group.queued() == 0
    for one in held:
        one.close()


def test_unix_group_queue_without_netlink_is_known_to_be_some(
    group: UnixGroup, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(inode: int) -> int:
        raise PermissionError("a sandbox")

    monkeypatch.setattr("lb.shell.sock_diag.unix_queue_by_netlink", refused)
    assert group.queued() == 0
    with client(path), client(path):
        assert group.queued() == 1


# ---- Mode and owner ----


def test_unix_group_without_a_mode_leaves_it_to_the_umask(path: Path) -> None:
    before = os.umask(0o027)
    try:
        group = group_at(path)
    finally:
        os.umask(before)
    assert mode(path) == 0o750
    group.close()


def test_unix_group_mode_is_exactly_the_one_wanted(path: Path) -> None:
    group = group_at(path, UnixSocket(mode=0o666))
    assert mode(path) == 0o666
    assert group.is_plain
    group.close()


@needs_root
def test_unix_group_owner_and_group_by_name_and_number(path: Path) -> None:
    name = grp.getgrgid(NOBODY.pw_gid).gr_name
    group = group_at(path, UnixSocket(0o600, "nobody", name))
    assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (NOBODY.pw_uid, NOBODY.pw_gid, 0o600)
    assert not group.is_plain
    group.close()
    group = group_at(path, UnixSocket(owner="1234", group="4321"))
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 4321)
    group.close()


def test_unix_group_owner_that_does_not_exist_is_named_and_nothing_is_left(path: Path) -> None:
    for file, words in (
        (UnixSocket(owner="no-such-user"), "unix.owner: there is no user 'no-such-user' on this machine"),
        (UnixSocket(group="no-such-group"), "unix.group: there is no group 'no-such-group' on this machine"),
    ):
        with pytest.raises(SocketRefused, match=words):
            group_at(path, file)
        assert not path.exists()


@needs_root
def test_unix_group_mode_and_owner_changed_on_the_standing_file_and_back(
    group: UnixGroup, path: Path
) -> None:
    was = path.stat()
    with client(path):
        group.apply(OPTIONS, UnixSocket(0o640, "nobody", "12"))
        assert (path.stat().st_uid, path.stat().st_gid, mode(path)) == (NOBODY.pw_uid, 12, 0o640)
        group.apply(OPTIONS, PLAIN)
        now = path.stat()
        assert (now.st_uid, now.st_gid, now.st_mode, now.st_ino) == (
            was.st_uid, was.st_gid, was.st_mode, was.st_ino
        )  # fmt: skip
        assert serve(group) == 1


def test_unix_group_backlog_changed_holds_at_once(group: UnixGroup, path: Path) -> None:
    group.apply(TcpOptions(backlog=1), PLAIN)
    held = [client(path) for _ in range(2)]
    with socket.socket(socket.AF_UNIX) as third:
        third.setblocking(False)
        assert third.connect_ex(str(path)) == errno.EAGAIN
        group.apply(TcpOptions(backlog=2), PLAIN)
        assert third.connect_ex(str(path)) == 0
    for one in held:
        one.close()


WITHOUT_ROOT = """
import os, sys
from lb.model.address import UnixAddress
from lb.model.listener import TcpOptions, UnixSocket
from lb.shell.unix_group import UnixGroup
folder = sys.argv[1]
os.chown(folder, 65534, 65534)
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
group = UnixGroup(UnixAddress(folder + "/web.sock"), TcpOptions(), UnixSocket(mode=0o666))
for file in (UnixSocket(owner="root"), UnixSocket(mode=0o600, group="root")):
    try:
        group.apply(TcpOptions(), file)
    except OSError as error:
        print(error, "|", error.suggestion)
try:
    UnixGroup(UnixAddress("/etc/web.sock"), TcpOptions(), UnixSocket())
except PermissionError as error:
    print(error.errno)
group.close()
print(os.listdir(folder))
"""


@needs_root
def test_unix_group_of_an_ordinary_user_says_what_it_may_not(tmp_path: Path) -> None:
    folder = tmp_path
    for above in folder.parents:
        if above.is_relative_to("/tmp") and above != Path("/tmp"):
            above.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOT, str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    hint = "only root may: start lb as root, or leave owner and group empty"
    assert done.stdout.splitlines() == [
        f"unix: may not give the socket's file to root | {hint}",
        f"unix: may not give the socket's file to root | {hint}",
        str(errno.EACCES),
        "[]",
    ]


# ---- Ending ----


async def test_unix_end_removes_the_file_and_ends_every_copy(group: UnixGroup, path: Path) -> None:
    with group.sockets[0].sock.dup() as copy:
        assert await group.end(Lookout()) == 0
        assert not path.exists()
        assert list(path.parent.iterdir()) == []
        with pytest.raises(OSError, match=r"Resource temporarily unavailable|Invalid argument"):
            copy.accept()
    assert group.left_behind is None


async def test_unix_end_admits_nobody_and_waits_for_who_came_before(group: UnixGroup, path: Path) -> None:
    with client(path) as early:
        ending = asyncio.create_task(group.end(Lookout()))
        await until(lambda: not path.exists(), "it admits nobody")
        with pytest.raises(FileNotFoundError):
            client(path)
        done, _ = await asyncio.wait([ending], timeout=0.1)
        assert not done, "it did not wait"
        [(session, _)] = [group.sockets[0].sock.accept()]
        assert await ending == 0
        with session:
            early.sendall(b"served")
            assert session.recv(6) == b"served"


async def test_unix_end_when_time_is_up_says_how_many_it_lost(group: UnixGroup, path: Path) -> None:
    with client(path), client(path):
        assert await group.end(Lookout(), empty_s_max=0.05) == 2


async def test_unix_end_cancelled_and_readmitted_goes_on_as_if_nothing_had_been(
    group: UnixGroup, path: Path
) -> None:
    before = path.stat().st_ino
    with client(path):
        ending = asyncio.create_task(group.end(Lookout()))
        await until(lambda: not path.exists(), "it admits nobody")
        ending.cancel()
        await asyncio.wait([ending])
        group.readmit()
        assert path.stat().st_ino == before
        with client(path):
            assert serve(group) == 2


async def test_unix_end_leaves_a_file_that_another_put_in_its_place(group: UnixGroup, path: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        await group.end(Lookout())
        client(path).close()


def test_unix_close_of_a_file_that_cannot_be_removed_says_so(
    group: UnixGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        group.close()
    assert group.left_behind == "permission denied"
