"""Snapshots on their way to the workers: one at a time, and always the newest.

While a worker is slow to acknowledge, newer snapshots replace one another and only the last is sent; old
generations never queue up. What must come after a snapshot (closing the sessions of an endpoint that it made
ineligible) waits for it, or new sessions would go where the old ones were just closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from lb.core.commands import CloseSessions
from lb.model.snapshot import Snapshot

ACKNOWLEDGED_S_MAX = 10.0  # the crew kills a worker after 2 s; one snapshot may be under way, one more wait
RETRY_S = 1.0  # a failure here is ours (no memory, no descriptor): it may pass, and health must reach workers


class PublishFailed(Exception):
    """Workers go on with the generation before; the cause is chained."""


class Publisher:
    def __init__(
        self,
        publish: Callable[[Snapshot], Awaitable[None]],
        close_sessions: Callable[[CloseSessions], None],
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._publish, self._close_sessions, self._on_failure = publish, close_sessions, on_failure
        self._newest: Snapshot | None = None
        self._closings: list[CloseSessions] = []
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self.generation = 0  # the latest that every worker acknowledged

    def submit(self, snapshot: Snapshot) -> None:
        self._newest = snapshot
        self._work.set()

    def close_sessions(self, command: CloseSessions) -> None:
        """After every snapshot submitted so far."""
        self._closings.append(command)
        self._work.set()

    def forget_endpoint(self, endpoint_id: int) -> None:
        """The id may get another owner, whose sessions nobody asked to close."""
        self._closings = [closing for closing in self._closings if closing.endpoint_id != endpoint_id]

    async def acknowledged(self, generation: int) -> None:
        """Until every worker has this generation or a later one. Raises PublishFailed."""
        if self.generation >= generation:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((generation, future))
        try:
            await asyncio.wait_for(future, ACKNOWLEDGED_S_MAX)
        except TimeoutError:
            raise PublishFailed(f"workers have not taken generation {generation} yet") from None

    async def run(self) -> None:
        """For ever, as one task."""
        while True:
            await self._work.wait()
            self._work.clear()
            if not await self._turn():
                # A newer snapshot may be the cure: what is submitted meanwhile does not wait for this.
                await self._work_within(RETRY_S)
                self._work.set()

    async def _turn(self) -> bool:
        snapshot, self._newest = self._newest, None
        closings, self._closings = self._closings, []
        if snapshot is not None:
            try:
                await self._publish(snapshot)
            except Exception as error:
                self._put_back(snapshot, closings)
                self._on_failure(error)
                self._answer(snapshot.generation, error)
                return False
            self.generation = snapshot.generation
            self._answer(snapshot.generation, None)
        for closing in closings:
            self._close_sessions(closing)
        return True

    def _put_back(self, snapshot: Snapshot, closings: list[CloseSessions]) -> None:
        """For the next turn, unless a newer one has come meanwhile."""
        self._newest = self._newest or snapshot
        self._closings[:0] = closings

    async def _work_within(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._work.wait(), seconds)
        except TimeoutError:
            return

    def _answer(self, generation: int, error: Exception | None) -> None:
        answered = [future for wanted, future in self._waiting if wanted <= generation and not future.done()]
        self._waiting = [(wanted, future) for wanted, future in self._waiting if wanted > generation]
        for future in answered:
            if error is None:
                future.set_result(None)
            else:
                failure = PublishFailed(f"workers could not be given generation {generation}: {error}")
                failure.__cause__ = error
                future.set_exception(failure)
