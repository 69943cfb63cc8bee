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

from lb.model.address import Address
from lb.shell.sock_diag import Handshake, at, proc_address
from lb.shell.sockets import claim

PROC = Path("/proc")
LISTENING = 0x0A
MODULE = b"\0-m\0lb.worker\0"
CATCHES_TERM = 1 << (signal.SIGTERM - 1)
RELEASED_S_MAX = 2.0  # a worker's loop turns within milliseconds, unless it is stopped
POLL_S = 0.005


async def relieve(addresses: Iterable[Address]) -> list[int]:
    """Those that hold one of the addresses close their listening sockets, and drain. Returns who they are.

    Whether the addresses are free then, binding tells.
    """
    taken = [address for address in addresses if address.port and is_taken(address)]
    if not taken:
        return []
    orphans = await asyncio.to_thread(lambda: list(holders(taken)))
    for pid in orphans:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    for _ in range(round(RELEASED_S_MAX / POLL_S)):
        if not orphans or not any(map(is_taken, taken)):
            break
        await asyncio.sleep(POLL_S)
    return orphans


def is_taken(address: Address) -> bool:
    try:
        claim(address)
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def holders(addresses: list[Address]) -> Iterator[int]:
    """Orphaned workers that listen on one of these addresses, as far as we may look."""
    wanted = {f"socket:[{inode}]" for inode in listening(addresses)}
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or it is another user's
            if is_orphan(process) and wanted & set(descriptors(process)):
                yield int(process.name)


def descriptors(process: Path) -> Iterator[str]:
    for fd in (process / "fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            yield str(fd.readlink())


def listening(addresses: list[Address]) -> Iterator[str]:
    """The inodes of the sockets that listen there, in this network namespace."""
    for table in (PROC / "net/tcp", PROC / "net/tcp6"):
        with suppress(FileNotFoundError):  # no IPv6 here
            for line in table.read_text(encoding="ascii").splitlines()[1:]:
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
