"""A dead end: one more socket of a group, whose queue is full. The kernel drops what SYN is steered there.

So a group admits nobody new, while handshakes that are under way, which know their socket, go on. A filter on
the sockets would do the same with less; but on TCP the kernel wants a capability for one (EPERM, seen on
6.18), and lb has given up its own.

A queue of length 0 has room for one connection. It is ours: the program lets in only the port that it comes
from, and nobody ever accepts it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from contextlib import ExitStack

from lb.model.address import Address
from lb.model.listener import TcpOptions
from lb.shell.sock_diag import accept_queue
from lb.shell.steering import steer, steer_all_to, steer_port_to
from lb.shell.tcp_socket import PLAIN, placed_socket

FILLED_S_MAX = 0.5  # a connection from a host to itself takes microseconds
LOOK_EVERY_S = 0.005


class DeadEnd:
    """Of the group that `member` is in. Its own socket gets the index after those of the `count` others."""

    def __init__(
        self, member: socket.socket, sock: socket.socket, count: int, options: TcpOptions = PLAIN
    ) -> None:
        """`sock` is bound and in the group, as `options` place it, and does not listen yet. It is ours from
        now on."""
        self._member, self._sock, self._count, self._options = member, sock, count, options
        self._ours = ExitStack()
        self._ours.enter_context(sock)

    async def shut_out(self) -> None:
        """From now on nobody is admitted. Raises OSError, and then all is as before."""
        try:
            await self._fill()
            steer_all_to(self._member, self._count)
        except BaseException:
            self.open()
            raise

    def open(self) -> None:
        """New connections go to the others again. Once those are closed, it only ends what is ours."""
        if self._member.fileno() != -1:
            steer(self._member, self._count)
        self._ours.close()

    async def _fill(self) -> None:
        host, port, *scope = self._sock.getsockname()
        here = own_host(Address(host, port), self._options)
        filler, _ = placed_socket(Address(here, port), self._options)
        self._ours.enter_context(filler)
        filler.bind((here, 0, *scope))
        self._sock.listen(0)
        steer_port_to(self._member, filler.getsockname()[1], self._count, self._sock.family)
        filler.connect_ex((here, port, *scope))
        for _ in range(round(FILLED_S_MAX / LOOK_EVERY_S)):
            if accept_queue(self._sock):
                return
            await asyncio.sleep(LOOK_EVERY_S)
        raise TimeoutError(errno.ETIMEDOUT, "the dead end does not fill")


def own_host(address: Address, options: TcpOptions) -> str:
    """Where we reach it ourselves. Raises OSError.

    127.0.0.2 and not .1: there another group of ours may stand beside it. An interface lets in only what came
    for an address of its own: the kernel names one that it would connect from.
    """
    if not address.is_wildcard:
        return address.host
    if options.interface is None:
        return "::1" if address.is_ipv6 else "127.0.0.2"
    elsewhere = Address("2001:db8::1" if address.is_ipv6 else "192.0.2.1", 9)  # of documentation: nobody's
    asking, name = placed_socket(elsewhere, options, socket.SOCK_DGRAM)
    with asking:
        asking.connect(name)  # of datagrams: nothing is sent
        host: str = asking.getsockname()[0]
    return host
