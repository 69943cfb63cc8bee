"""Notices that the configuration file says something else than before.

Events of the folder make it quick, and a look at the contents every POLL_S makes it certain: a file system
may be remote, the path a chain of links, the file a mount of its own. Only contents count: a file that was
written again with the same words did not change, and one that cannot be read did not either.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

from watchfiles import awatch

from lb.model.record import Record
from lb.shell.unattended import unattended

MOUNTS = Path("/proc/self/mountinfo")
POLL_S = 2.0
EVENTS_MS = 100
QUIET_S = 0.1  # as long as writes follow one another more closely than this, they are one change
QUIET_TRIES_MAX = 20  # but a file that is never quiet is looked at every 2 s


class Watcher:
    """`on_change` is called for each new content; `seen` is the sha256 of the one that is already known."""

    def __init__(
        self,
        path: Path,
        on_change: Callable[[], None],
        *,
        seen: str | None = None,
        on_record: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self._path = path.absolute()
        self._on_change = on_change
        self._on_record = on_record
        self._seen = seen
        self._troubles: set[str] = set()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._seen is None:
            self._seen = await self._read()
        if await asyncio.to_thread(self._is_a_mount):
            self._report(
                "config_watch_limited", "one renamed over a mounted file is not seen; mount its folder"
            )
        self._task = unattended(self._run(), "the watch over the configuration")

    async def note(self) -> None:
        """Somebody is about to load the file: what it says now is no news, what it said before is again."""
        self._seen = await self._read() or self._seen

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._watch(await asyncio.to_thread(self._folders))
            except Exception as error:  # a folder vanished, or the kernel's watches are used up
                self._report("config_watch_failed", str(error))
                await self._pause(POLL_S)
                await self._look()

    async def _watch(self, folders: set[Path]) -> None:
        """Until the path leads somewhere else."""
        stirs = awatch(
            *folders,
            watch_filter=None,
            recursive=False,
            step=EVENTS_MS,
            rust_timeout=int(POLL_S * 1000),
            yield_on_timeout=True,
            stop_event=self._stopping,
        )
        async for _ in stirs:
            self._troubles.discard("config_watch_failed")
            await self._look()
            if await asyncio.to_thread(self._folders) != folders:
                return

    async def _look(self) -> None:
        content = await self._read()
        if content not in (None, self._seen):
            content = await self._settled(content)
        if content not in (None, self._seen):
            self._seen = content
            self._on_change()

    async def _settled(self, content: str | None) -> str | None:
        """What the file says once it is quiet: a write in place is seen empty, then half, then whole."""
        for _ in range(QUIET_TRIES_MAX):
            await self._pause(QUIET_S)
            before, content = content, await self._read()
            if content == before or self._stopping.is_set():
                break
        return content

    async def _read(self) -> str | None:
        try:
            content = await asyncio.to_thread(self._contents)
        except OSError as error:
            self._report("config_unreadable", str(error))
            return None
        self._troubles.discard("config_unreadable")
        return hashlib.sha256(content).hexdigest()

    def _contents(self) -> bytes:
        """Of a file only: to open a pipe again is to wait for a writer, and the end of lb would wait too."""
        if self._path.exists() and not self._path.is_file():
            raise OSError("it is not a regular file, so changes are not seen")
        return self._path.read_bytes()

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _report(self, event: str, why: str) -> None:
        """Once, until it is over."""
        if event not in self._troubles:
            self._troubles.add(event)
            self._on_record(Record(event, "warning", {"path": str(self._path), "why": why}))

    def _folders(self) -> set[Path]:
        """Where the name stands, and where the file itself lies: a link may be swapped, or its target."""
        return {self._path.parent, self._path.resolve().parent}

    def _is_a_mount(self) -> bool:
        target = str(self._path.resolve())
        return any(mount.split(" ")[4] == target for mount in MOUNTS.read_text().splitlines())
