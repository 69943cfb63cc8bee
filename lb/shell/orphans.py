"""Workers of an lb that was killed serve on, and hold the addresses that its successor wants.

With a supervisor, a worker ignores SIGTERM; without one, it drains and exits on it. So the signal harms
nobody else's worker, and an operator may send it too.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from lb.model.address import Address, UnixAddress
from lb.model.listener import Listener, TcpOptions
from lb.shell.place import Place
from lb.shell.sock_diag import Handshake, at, proc_address, proc_lines
from lb.shell.tcp_socket import claim
from lb.shell.unix_path import is_served, listening_at

PROC = Path("/proc")
LISTENING = 0x0A
MODULE = b"\0-m\0lb.worker\0"
CATCHES_TERM = 1 << (signal.SIGTERM - 1)
RELEASED_S_MAX = 2.0  # a worker's loop turns within milliseconds, unless it is stopped
POLL_S = 0.005


async def relieve(wanted: Iterable[tuple[Place, Listener]]) -> list[int]:
    """Those that hold one of the places close their listening sockets, and drain. Returns who they are.

    Whether the places are free then, binding tells.
    """
    taken = {place: listener for place, listener in wanted if is_taken(place, listener.tcp)}
    if not taken:
        return []
    orphans = await asyncio.to_thread(lambda: list(holders(taken)))
    for pid in orphans:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for _ in range(round(RELEASED_S_MAX / POLL_S)):
        if not orphans or not any(is_held(place, listener.tcp) for place, listener in taken.items()):
            break
        await asyncio.sleep(POLL_S)
    return orphans


def is_taken(place: Place, options: TcpOptions) -> bool:
    address = place.address
    try:
        if isinstance(address, UnixAddress):
            return is_served(Path(address.path))
        if address.port:
            claim(address, options)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def is_held(place: Place, options: TcpOptions) -> bool:
    """The same, asked again and again: who serves a path is not to be visited each time."""
    if isinstance(place.address, UnixAddress):
        return any(listening_at({place.address.path}))
    return is_taken(place, options)


def holders(taken: Iterable[Place]) -> Iterator[int]:
    """Orphaned workers that listen at one of these places, as far as we may look."""
    sockets = {f"socket:[{inode}]" for inode in inodes(list(taken))}
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or it is another user's
            if is_orphan(process) and sockets & set(descriptors(process)):
                yield int(process.name)


def inodes(taken: list[Place]) -> Iterator[str]:
    """Of the sockets that listen there."""
    yield from listening_at({one.address.path for one in taken if isinstance(one.address, UnixAddress)})
    for netns in {place.netns for place in taken}:
        addresses = [place.address for place in taken if place.netns == netns]
        yield from listening([address for address in addresses if isinstance(address, Address)], netns)


def descriptors(process: Path) -> Iterator[str]:
    for fd in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(fd.readlink())


def listening(addresses: list[Address], netns: str | None) -> Iterator[str]:
    """The inodes of the sockets that listen at these addresses of a network namespace."""
    if not addresses:
        return
    for line in proc_lines(netns):
        fields = line.split()
        if int(fields[3], 16) == LISTENING and in_the_way(*proc_address(fields[1]), addresses):
            yield fields[9]


def in_the_way(host: bytes, port: int, addresses: list[Address]) -> bool:
    """Whether what listens there keeps one of the addresses from being bound."""
    listener = Handshake(host, port, b"", 0)
    wildcard = not any(host)
    return any(
        at(address, [listener])
        or (wildcard and port == address.port and (len(host) == 16) == address.is_ipv6)
        for address in addresses
    )


def is_orphan(process: Path) -> bool:
    if MODULE not in (process / "cmdline").read_bytes():
        return False
    status = (process / "status").read_text(encoding="ascii", errors="replace")
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & CATCHES_TERM)
