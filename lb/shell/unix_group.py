"""A listening group at a path: one socket, of which every worker has a copy.

Facts
  SO_REUSEPORT does not exist here, nor steering, handshakes, or options of TCP. Every worker is woken for
  every client; who accepts first has it, and the others find nothing.
  A client goes by the path. Once the file has another name nobody new comes, and who is in the queue stays.
  Nobody can connect before listen(): by then the file has the mode and the owner that it is to have.

Invariants
  The file is touched only while it is the one that this group made.
  The socket closes only when its queue is empty, or when that took longer than `EMPTY_S_MAX`.
"""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import socket
import stat
from contextlib import suppress
from pathlib import Path

from lb.model.address import UnixAddress
from lb.model.listener import TcpOptions, UnixSocket
from lb.shell.bind_problem import SocketRefused
from lb.shell.lookout import Lookout
from lb.shell.sock_diag import accept_queue
from lb.shell.sockets import EMPTY_S_MAX, NUMBERS, SETTLE_S, ListeningSocket, emptied, shut
from lb.shell.unix_path import Identity, clear, identity

ASIDE = ".leaving"  # what the file's name has at its end while its group leaves
UNDRESSED = UnixSocket()


class UnixGroup:
    """`left_behind`: why the file could not be removed, once the group is closed; None: it could."""

    def __init__(self, address: UnixAddress, options: TcpOptions, file: UnixSocket) -> None:
        """Bind, and listen not yet. Raises OSError, and leaves nothing behind."""
        self.address = address
        self.options, self.file = options, file
        self.left_behind: str | None = None
        self.path = self._name = Path(address.path)
        clear(self.path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sockets = [ListeningSocket(next(NUMBERS), 0, sock)]
        self._identity: Identity | None = None
        try:
            sock.setblocking(False)
            sock.bind(address.path)
            self._identity = identity(self.path)
            self._mode = stat.S_IMODE(self.path.lstat().st_mode)
            self._dress(file)
        except OSError:
            self.close()
            raise

    @property
    def is_plain(self) -> bool:
        """Nobody was named to own its file."""
        return self.file.owner is None

    def listen(self) -> None:
        self.sockets[0].sock.listen(self.options.backlog)

    def of(self, worker: int) -> ListeningSocket:
        """The same for all."""
        return self.sockets[0]

    def apply(self, options: TcpOptions, file: UnixSocket) -> None:
        """Raises OSError; then some may be changed, and so may be changed back."""
        before, self.options, self.file = self.file, options, file
        self.sockets[0].sock.listen(options.backlog)
        if file != before:
            self._dress(file, before)

    async def end(self, lookout: Lookout, empty_s_max: float = EMPTY_S_MAX) -> int:
        """Admit nobody, wait until it is empty, then end every copy of the socket, and the file.

        Returns how many connections were lost: 0 unless time ran out. May be cancelled: see `readmit`.
        """
        self._rename(self.path.with_name(self.path.name + ASIDE))
        await asyncio.sleep(SETTLE_S)  # who found the file before may be on the way into the queue

        async def waiting() -> int:
            return self.queued()

        left = await emptied(waiting, empty_s_max)
        self.close()
        return left

    def readmit(self) -> None:
        """Take back an `end` that was cancelled."""
        self._rename(self.path)

    def queued(self) -> int:
        """Connections that no worker has accepted yet."""
        return sum(accept_queue(member.sock) for member in self.sockets)

    def close(self) -> None:
        """At once, whatever waits. Copies in workers stop accepting too."""
        if self._is_ours():
            try:
                self._name.unlink()
            except OSError as error:
                self.left_behind = os.strerror(error.errno or 0).lower()
        for member in self.sockets:
            shut(member.sock)
        self.sockets.clear()

    def _is_ours(self) -> bool:
        return self._identity is not None and identity(self._name) == self._identity

    def _rename(self, name: Path) -> None:
        if self._name == name or not self._is_ours():
            return
        with suppress(OSError):  # a folder we may not write: then who comes while it ends may be cut off
            self._name = self._name.rename(name)

    def _dress(self, file: UnixSocket, before: UnixSocket = UNDRESSED) -> None:
        """What `file` leaves open stays as bind() made it, or becomes so again."""
        found = self._name.lstat()
        user_id, group_id, mode = found.st_uid, found.st_gid, self._mode
        if file.owner is not None or before.owner is not None:
            user_id = os.geteuid() if file.owner is None else id_of(file.owner, "owner")
        if file.group is not None or before.group is not None:
            group_id = os.getegid() if file.group is None else id_of(file.group, "group")
        try:
            if (found.st_uid, found.st_gid) != (user_id, group_id):
                os.chown(self._name, user_id, group_id, follow_symlinks=False)
            self._name.chmod(mode if file.mode is None else file.mode)
        except PermissionError as error:
            whom = " and ".join(name for name in (file.owner, file.group) if name)
            reason = f"may not give the socket's file to {whom}" if whom else "may not change its file back"
            hint = "only root may: start lb as root, or leave owner and group empty"
            raise SocketRefused(f"unix: {reason}", hint) from error


def id_of(name: str, key: str) -> int:
    """Of a user or a group, by name or number. Raises SocketRefused."""
    if name.isdecimal():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid if key == "owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        what = "user" if key == "owner" else "group"
        raise SocketRefused(f"unix.{key}: there is no {what} {name!r} on this machine") from None
