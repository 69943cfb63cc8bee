"""A listening group: the sockets of one address, one per worker, joined by SO_REUSEPORT.

Why one socket per worker: exclusive wake-up is lost through a nested epoll, so a shared one would wake every
worker for every connection. Why the supervisor keeps them: a socket that closes takes its queue with it, so
while an address stands in the configuration its sockets never close, whatever becomes of the workers.

Invariants
    Socket i belongs to worker i, and is index i of the group (it began to listen as number i).
    The steering program covers exactly the indexes that stand.
    A socket closes only when it is empty (no handshake of its own under way, nothing in its accept queue), or
    when that took longer than `EMPTY_S_MAX`. Workers go on accepting meanwhile.
    What a session inherits is set on the listening sockets: lb/shell/tcp_options.py.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from lb.model.address import Address
from lb.model.listener import TcpOptions, UnixSocket
from lb.shell.dead_end import DeadEnd
from lb.shell.lookout import Lookout
from lb.shell.sock_diag import accept_queue, at
from lb.shell.steering import steer
from lb.shell.tcp_options import set_inherited
from lb.shell.tcp_socket import bound_socket

EMPTY_S_MAX = 10.0
SETTLE_S = 0.002  # a SYN that was let in before may be on its way into the table, on another CPU
POLL_S_MIN, POLL_S_MAX = 0.01, 0.2

NUMBERS = itertools.count(1)
NO_FILE = UnixSocket()


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """`number` is never used again in this process; `index` is the worker's, and that in the group."""

    number: int
    index: int
    sock: socket.socket


class ListeningGroup:
    """`address` is the real one: port 0 became the port that the first socket got."""

    left_behind: str | None = None  # such a group has no file

    def __init__(self, address: Address, options: TcpOptions, count: int) -> None:
        """Bind, and listen not yet. Raises OSError, and leaves nothing behind."""
        self.address = address
        self.options = options
        self.sockets: list[ListeningSocket] = []
        self._dead_end: DeadEnd | None = None
        try:
            for index in range(count):
                sock = bound_socket(self.address, options, reuse_port=True)
                self.sockets.append(ListeningSocket(next(NUMBERS), index, sock))
                self.address = Address(address.host, sock.getsockname()[1])
                set_inherited(sock, options)
        except OSError:
            self.close()
            raise

    def listen(self) -> None:
        """In order of index. Connections come from now on, and wait until a worker accepts them."""
        for member in self.sockets:
            member.sock.listen(self.options.backlog)
        steer(self.sockets[0].sock, len(self.sockets))

    def of(self, worker: int) -> ListeningSocket:
        return self.sockets[worker]

    def apply(self, options: TcpOptions, file: UnixSocket = NO_FILE) -> None:
        """Change the options of standing sockets: for connections from now on. Raises OSError; then some may
        be changed, and so may be changed back."""
        before, self.options = self.options, options
        if options == before:
            return
        for member in self.sockets:
            set_inherited(member.sock, options, before)
            member.sock.listen(options.backlog)  # on a listening socket it only changes the length

    async def shrink(self, lookout: Lookout, empty_s_max: float = EMPTY_S_MAX) -> int:
        """Close the last index. Returns how many connections it took with it: 0 unless time ran out."""
        last = self.sockets[-1]
        if len(self.sockets) == 1:
            raise ValueError(f"{self.address}: the last socket of a group does not shrink, it ends")
        steer(last.sock, len(self.sockets) - 1)
        await asyncio.sleep(SETTLE_S)
        steered_before = at(self.address, await lookout.look())

        async def waiting() -> int:
            return len(steered_before & await lookout.look()) + accept_queue(last.sock)

        left = await emptied(waiting, empty_s_max)
        self.sockets.pop()
        shut(last.sock)
        return left

    async def end(self, lookout: Lookout, empty_s_max: float = EMPTY_S_MAX) -> int:
        """Admit nobody, wait until it is empty, then end every copy of every socket, whoever holds it.

        Returns how many connections were lost: 0 unless time ran out. May be cancelled: see `readmit`.
        """
        await self._admit_nobody()
        await asyncio.sleep(SETTLE_S)
        begun_before = at(self.address, await lookout.look())

        async def waiting() -> int:
            under_way = at(self.address, await lookout.look())
            if self._dead_end is not None:  # who has begun since then is another group's of this port
                under_way &= begun_before
            # In this order: what leaves the first place between the two looks is seen in the second.
            return len(under_way) + self.queued()

        left = await emptied(waiting, empty_s_max)
        self.close()
        return left

    def readmit(self) -> None:
        """Take back an `end` that was cancelled."""
        if self._dead_end is not None:
            self._dead_end.open()
            self._dead_end = None

    def queued(self) -> int:
        """Connections that no worker has accepted yet."""
        return sum(accept_queue(member.sock) for member in self.sockets)

    def close(self) -> None:
        """At once, whatever waits. Copies in workers stop accepting too."""
        for member in self.sockets:
            shut(member.sock)
        self.sockets.clear()
        self.readmit()  # the dead end is still a socket that listens: it goes last

    async def _admit_nobody(self) -> None:
        """A client tries again after 1 s, and is then refused: the sockets are closed by then."""
        with suppress(OSError):  # no descriptor left, say: then only who comes while it ends may be reset
            sock = bound_socket(self.address, self.options, reuse_port=True)
            dead_end = DeadEnd(self.sockets[0].sock, sock, len(self.sockets), self.options)
            await dead_end.shut_out()
            self._dead_end = dead_end


async def emptied(waiting: Callable[[], Awaitable[int]], s_max: float) -> int:
    """Wait until `waiting()` is 0, at most `s_max`. Returns what it was last."""
    loop = asyncio.get_running_loop()
    deadline, pause_s = loop.time() + s_max, POLL_S_MIN
    while (left := await waiting()) and loop.time() < deadline:
        await asyncio.sleep(min(pause_s, max(deadline - loop.time(), 0)))
        pause_s = min(pause_s * 2, POLL_S_MAX)
    return left


def shut(sock: socket.socket) -> None:
    """shutdown() reaches the copies that workers hold; close() alone would leave those accepting."""
    with suppress(OSError):  # ENOTCONN: it does not listen yet
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
