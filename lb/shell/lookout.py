"""One look at the machine's handshakes serves everybody who waits for some to end.

A look costs the same for one listener as for a thousand that leave together, and it blocks: so it is made in
a thread, one at a time. Who asks gets a look that began after asking; what was seen before proves nothing.
"""

from __future__ import annotations

import asyncio

from lb.shell.sock_diag import Handshake, handshakes


class Lookout:
    """Over one network namespace."""

    def __init__(self, netns: str | None = None) -> None:
        self._netns = netns
        self._under_way: asyncio.Task[frozenset[Handshake]] | None = None
        self._next: asyncio.Task[frozenset[Handshake]] | None = None

    async def look(self) -> frozenset[Handshake]:
        """The handshakes under way at some time between the call and its return."""
        if self._next is None:
            self._next = asyncio.create_task(self._look_after(self._under_way))
        return await asyncio.shield(self._next)  # others may wait for it too

    async def _look_after(self, before: asyncio.Task[frozenset[Handshake]] | None) -> frozenset[Handshake]:
        if before is not None:
            await asyncio.wait([before])
        self._under_way, self._next = self._next, None
        return await asyncio.to_thread(handshakes, self._netns)
