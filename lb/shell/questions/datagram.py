"""One datagram there and one back.

Silence proves nothing: an endpoint that need not reply, a reply that was lost and a host that is gone look
the same. So a reply is what it takes to pass. That the port is closed (ICMP) ends the wait early.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import closing

from lb.model.address import Address, SocketAddress
from lb.model.check import Datagram
from lb.model.pattern import compiled
from lb.shell.questions.answer import Failed, Passed, quoted

REPLIES_MAX = 64
REPLY_BYTES_MAX = 65_535


async def ask(datagram: Datagram, address: SocketAddress) -> Passed:
    return await exchanged(datagram.payload, address, lambda reply: judged(reply, datagram.reply))


def judged(reply: bytes, pattern: str | None) -> Passed:
    if pattern is None:
        return Passed(f"{len(reply)} bytes: {quoted(reply)}".removesuffix(": "))
    if found := compiled(pattern).search(reply):
        return Passed(quoted(found[0]))
    raise Failed(f"no match of /{pattern}/ in {len(reply)} bytes: {quoted(reply)}".removesuffix(": "))


async def exchanged(data: bytes, address: SocketAddress, judge: Callable[[bytes], Passed | None]) -> Passed:
    """What `judge` says of the first reply; None: of the next. Raises OSError, and Failed as `judge` does."""
    if not isinstance(address, Address):
        raise Failed("a unix socket is not asked by datagrams")
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with closing(socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)) as sock:
        sock.connect((address.host, address.port))
        sock.send(data)
        loop = asyncio.get_running_loop()
        for _ in range(REPLIES_MAX):
            if (passed := judge(await loop.sock_recv(sock, REPLY_BYTES_MAX))) is not None:
                return passed
        raise Failed(f"{REPLIES_MAX} replies, and none to what was asked")
