"""A listening group: the sockets of one address, one per worker, joined by SO_REUSEPORT.

Why one socket per worker: exclusive wake-up is lost through a nested epoll, so a shared one would wake every
worker for every connection. Why the supervisor keeps them: a socket that closes takes its queue with it, so
while an address stands in the configuration its sockets never close, whatever becomes of the workers.

Invariants
    Socket i belongs to worker i, and is index i of the group (it began to listen as number i).
    The steering program covers exactly the indexes that stand.
    A socket closes only when it is empty (no handshake of its own under way, nothing in its accept queue), or
    when that took longer than `EMPTY_S_MAX`. Workers go on accepting meanwhile.
    What a session inherits is set here, on the listening socket: no delay, urgent data in line, keepalive.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from lb.model.address import Address
from lb.model.listener import TcpOptions
from lb.shell.dead_end import DeadEnd
from lb.shell.lookout import Lookout
from lb.shell.sock_diag import accept_queue, at
from lb.shell.steering import steer

EMPTY_S_MAX = 10.0
SETTLE_S = 0.002  # a SYN that was let in before may be on its way into the table, on another CPU
POLL_S_MIN, POLL_S_MAX = 0.01, 0.2

NUMBERS = itertools.count(1)


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """`number` is never used again in this process; `index` is the worker's, and that in the group."""

    number: int
    index: int
    sock: socket.socket


class ListeningGroup:
    """`address` is the real one: port 0 became the port that the first socket got."""

    def __init__(self, address: Address, options: TcpOptions, count: int) -> None:
        """Bind, and listen not yet. Raises OSError, and leaves nothing behind."""
        self.address = address
        self.options = options
        self.sockets: list[ListeningSocket] = []
        self._dead_end: DeadEnd | None = None
        try:
            for index in range(count):
                sock = bound_socket(self.address, reuse_port=True)
                self.sockets.append(ListeningSocket(next(NUMBERS), index, sock))
                self.address = Address(address.host, sock.getsockname()[1])
            self._set_keepalive()
        except OSError:
            self.close()
            raise

    def listen(self) -> None:
        """In order of index. Connections come from now on, and wait until a worker accepts them."""
        for member in self.sockets:
            member.sock.listen(self.options.backlog)
        steer(self.sockets[0].sock, len(self.sockets))

    def apply(self, options: TcpOptions) -> None:
        """Change the options of standing sockets: for connections from now on."""
        if options == self.options:
            return
        self.options = options
        self._set_keepalive()
        for member in self.sockets:
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

        async def waiting() -> int:
            # In this order: what leaves the first place between the two looks is seen in the second.
            return len(at(self.address, await lookout.look())) + self.queued()

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
            dead_end = DeadEnd(
                self.sockets[0].sock, bound_socket(self.address, reuse_port=True), len(self.sockets)
            )
            await dead_end.shut_out()
            self._dead_end = dead_end

    def _set_keepalive(self) -> None:
        keepalive = self.options.keepalive
        for member in self.sockets:
            member.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, keepalive is not None)
            if keepalive is not None:
                member.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive.idle_s)
                member.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive.interval_s)
                member.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, keepalive.count)


def claim(address: Address) -> None:
    """Raises OSError if somebody listens there, and leaves nothing behind.

    Joining a group never says that: another lb of the same user would silently get half of the connections.
    A socket without SO_REUSEPORT is refused by every listening one.
    """
    bound_socket(address, reuse_port=False).close()


def bound_socket(address: Address, *, reuse_port: bool) -> socket.socket:
    family, kind, protocol, _, name = socket.getaddrinfo(
        address.host.encode(),  # as text, it would import the codec of international names
        address.port,
        type=socket.SOCK_STREAM,
        flags=socket.AI_NUMERICHOST | socket.AI_PASSIVE,
    )[0]  # numeric: this asks nobody; it is how the zone of a link-local address becomes a number
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # sessions of before may be in TIME_WAIT
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, reuse_port)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            # Else [::]:80 takes IPv4 clients too, and 0.0.0.0:80 beside it cannot be bound.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(name)
    except OSError:
        sock.close()
        raise
    return sock


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
