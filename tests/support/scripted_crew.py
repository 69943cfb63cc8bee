"""A crew without workers, which remembers what it was asked, in order, and fails where a test says so.

`failing` maps a method's name to the exception it raises, once. `slow` holds back every `publish` until it is
set. What workers would have by now is in `snapshot` and `open_binds`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from lb.core.commands import CloseSessions
from lb.model.address import Address
from lb.model.listener import Listener
from lb.model.snapshot import Snapshot


class ScriptedBound:
    def __init__(self, crew: ScriptedCrew, listeners: Sequence[Listener]) -> None:
        self._crew = crew
        self.listeners = tuple(listeners)
        self.is_open = self.is_discarded = False

    def discard(self) -> None:
        self._crew.journal.append("discard")
        self._crew.held -= not self.is_open
        self.is_discarded = True


class ScriptedCrew:
    def __init__(self) -> None:
        self.journal: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.slow: asyncio.Event | None = None
        self.snapshot: Snapshot | None = None
        self.published: list[int] = []
        self.open_binds: set[Address] = set()
        self.held = 0  # bound, and neither opened nor discarded

    def bind(self, listeners: Sequence[Listener]) -> ScriptedBound:
        self._step("bind")
        self.held += 1
        return ScriptedBound(self, listeners)

    async def publish(self, snapshot: Snapshot) -> None:
        if self.slow is not None:
            await self.slow.wait()
        self._step("publish")
        self.snapshot = snapshot
        self.published.append(snapshot.generation)

    def close_sessions(self, command: CloseSessions) -> None:
        which = "listener" if command.endpoint_id is None else "endpoint"
        number = command.listener_id if command.endpoint_id is None else command.endpoint_id
        self._step(f"close {which} {number}")

    async def open(self, bound: ScriptedBound, listener_ids: Mapping[str, int]) -> None:
        assert not bound.is_discarded
        assert listener_ids.keys() >= {listener.name for listener in bound.listeners}
        self._step("open")
        bound.is_open = True
        self.held -= 1
        self.open_binds |= {address for listener in bound.listeners for address in listener.binds}

    async def close_absent(self, listeners: Sequence[Listener]) -> None:
        self._step("close_absent")
        self.open_binds &= {address for listener in listeners for address in listener.binds}

    def eligible(self) -> set[str]:
        """Names of the endpoints that workers send sessions to."""
        assert self.snapshot is not None
        numbers = {number for pool in self.snapshot.pools if pool for number in pool.eligible}
        return {line.name for number in numbers if (line := self.snapshot.endpoints[number])}

    def _step(self, name: str) -> None:
        self.journal.append(name)
        if error := self.failing.pop(name, None):
            raise error
