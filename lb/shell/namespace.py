"""Network namespaces other than lb's own. Each is entered by a thread that stays in it.

Facts
  A socket belongs for ever to the namespace of the thread that made it, whoever binds it. So a thread only
  makes the socket; all else happens where it always does.
  setns() moves one thread. The main one must not: workers are its children, and connect to endpoints from
  where it is.
  Entering takes CAP_SYS_ADMIN, which is nearly root: lb does not keep it. A thread that has entered needs no
  right to stay, so what was used at the start can be bound again after root was given up.
  The thread keeps its namespace alive; it leaves once nothing is bound there any more.
"""

from __future__ import annotations

import ctypes
import errno
import os
import threading
from collections.abc import Callable, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from lb.shell.bind_problem import SocketRefused

NAMED = Path("/run/netns")  # `ip netns add` puts them there
CLONE_NEWNET = 0x40000000  # include/uapi/linux/sched.h

Made = TypeVar("Made")

libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """`name`: as in `ip netns`, or a path. Raises SocketRefused."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, "lb-netns")
        try:
            self.inode = self._thread.submit(enter, path_of(name)).result()
        except OSError as error:
            self._thread.shutdown()
            raise refused(name, error) from error

    def run(self, make: Callable[[], Made]) -> Made:
        """Its result, or what it raises."""
        return self._thread.submit(make).result()

    def leave(self) -> None:
        self._thread.shutdown()


entered: dict[str, Namespace] = {}
changing = threading.Lock()  # whoever looks at handshakes does so in a thread


def within(name: str | None, make: Callable[[], Made]) -> Made:
    """What `make` returns when it is called in that namespace; None: in lb's own. Raises SocketRefused."""
    if name is None:
        return make()
    with changing:
        known = entered.get(name)
        if known is not None and known.inode != inode_of(name, otherwise=known.inode):
            entered.pop(name).leave()  # it was made anew under the old name
            known = None
        if known is None:
            known = entered[name] = Namespace(name)
        return known.run(make)


def leave_all_but(names: Set[str]) -> None:
    with changing:
        for name in entered.keys() - names:
            entered.pop(name).leave()


def path_of(name: str) -> Path:
    return NAMED / name


def inode_of(name: str, otherwise: int) -> int:
    """0: there is none. `otherwise`: we may not look (another user's /proc/PID/ns/net)."""
    with suppress(PermissionError):
        try:
            return path_of(name).stat().st_ino
        except (FileNotFoundError, NotADirectoryError):
            return 0
    return otherwise


def enter(path: Path) -> int:
    """Moves the calling thread; returns the inode of the namespace. Raises OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(fd, CLONE_NEWNET) == -1:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


def refused(name: str, error: OSError) -> SocketRefused:
    match error.errno:
        case errno.ENOENT | errno.ENOTDIR:
            return SocketRefused(f"tcp.netns: there is no network namespace {name!r}", "see `ip netns`")
        case errno.EINVAL:
            return SocketRefused(f"tcp.netns: {path_of(name)} is not a network namespace", "see `ip netns`")
        case errno.EPERM | errno.EACCES:
            hint = "to enter one takes CAP_SYS_ADMIN, which lb gives up for `user`: restart it"
            return SocketRefused(f"tcp.netns: may not enter {name!r}", hint)
    return SocketRefused(f"tcp.netns: {name!r}: {error.strerror}")
