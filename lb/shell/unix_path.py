"""The file of a unix socket: whether somebody serves it, and how one that nobody serves is cleared away.

Facts
  bind() makes the file and never replaces one; nothing but unlink() removes it. Whoever is killed leaves it.
  Whether it is served only connect() tells for certain. The list of /proc is without side effects, but knows
  paths as they were bound: in another container, the same text may be another file.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lb.shell.bind_problem import SocketRefused

TABLE = Path("/proc/net/unix")
LISTENS = 0x10000  # __SO_ACCEPTCON

Identity = tuple[int, int]  # device and inode


def is_served(path: Path) -> bool:
    """It is connected to, and left at once. Raises OSError when we may not ask."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)
        found = visitor.connect_ex(str(path))
    if found in (errno.EACCES, errno.EPERM):
        raise OSError(found, os.strerror(found))
    return found not in (errno.ECONNREFUSED, errno.ENOENT, errno.ENOTDIR)


def clear(path: Path) -> None:
    """Removes what a server left that was killed. Raises OSError: EADDRINUSE if somebody serves it."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise SocketRefused("a file is there that is not a socket", "lb removes none: choose another path")
    if is_served(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink()


def identity(path: Path) -> Identity | None:
    """Tells whether the file at a path is still the same one; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def listening_at(paths: set[str]) -> Iterator[str]:
    """The inodes of the sockets that listen at one of these paths, as /proc has them."""
    with suppress(OSError):
        for line in TABLE.read_text(encoding="utf-8", errors="surrogateescape").splitlines()[1:]:
            fields = line.split(maxsplit=7)
            if len(fields) == 8 and int(fields[3], 16) & LISTENS and fields[7] in paths:
                yield fields[6]
