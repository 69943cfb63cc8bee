"""Notices that the configuration file, or a list that it names, says something else than before.

Events of the folders make it quick, and a look at the contents every POLL_S makes it certain: a file system
may be remote, the path a chain of links, the file a mount of its own. Only contents count: a file that was
written again with the same words did not change, and one that cannot be read did not either.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from watchfiles import awatch

from lb.config.syntax import TEXT_MAX
from lb.model.record import Record
from lb.shell.unattended import unattended

MOUNTS = Path("/proc/self/mountinfo")
POLL_S = 2.0
EVENTS_MS = 100
QUIET_S = 0.1  # as long as writes follow one another more closely than this, they are one change
QUIET_TRIES_MAX = 20  # but a file that is never quiet is looked at every 2 s


# What each file said, as its SHA-256; one that cannot be read is not in it.
Contents = dict[Path, str]


class Watcher:
    """`on_change` is called for each new content; `seen` is the sha256 of the file's that is already known.

    Lists come and go with what the file says: `follow` tells which there are.
    """

    def __init__(
        self,
        path: Path,
        on_change: Callable[[], None],
        *,
        seen: str | None = None,
        on_record: Callable[[Record], None] = lambda record: None,
    ) -> None:
        self._path = path.absolute()
        self._lists: tuple[Path, ...] = ()
        self._on_change = on_change
        self._on_record = on_record
        self._seen: Contents = {} if seen is None else {self._path: seen}
        self._told_count = 0
        self._troubles: set[tuple[str, Path]] = set()
        self._stopping = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        if self._path not in self._seen:
            self._seen |= await self._read()
        for path in await asyncio.to_thread(self._mounts):
            why = "one renamed over a mounted file is not seen; mount its folder"
            self._report("config_watch_limited", why, path)
        self._task = unattended(self._run(), "the watch over the configuration")

    async def note(self) -> None:
        """Somebody is about to load the file: what it says now is no news, what it said before is again."""
        self._seen |= await self._read()
        self._told_count += 1

    def follow(self, lists: Mapping[str, str | None]) -> None:
        """The lists that the file names, and the SHA-256 of what was read of each; None: nothing was."""
        known = {Path(path).absolute(): content for path, content in lists.items()}
        self._lists = tuple(known)
        read = {path: content for path, content in known.items() if content is not None}
        self._seen = {path: seen for path, seen in self._seen.items() if path in self._files()} | read
        self._troubles = {(event, path) for event, path in self._troubles if path in self._files()}
        self._told_count += 1

    async def stop(self) -> None:
        self._stopping.set()
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._watch(await asyncio.to_thread(self._folders))
            except Exception as error:  # a folder vanished, or the kernel's watches are used up
                self._report("config_watch_failed", str(error), self._path)
                await self._pause(POLL_S)
                await self._look()

    async def _watch(self, folders: set[Path]) -> None:
        """Until the paths lead somewhere else."""
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
            self._troubles.discard(("config_watch_failed", self._path))
            await self._look()
            if await asyncio.to_thread(self._folders) != folders:
                return

    async def _look(self) -> None:
        """What was read before somebody told more is no longer to be compared: the next look is soon."""
        told = self._told_count
        contents = await self._read()
        if self._is_news(contents):
            contents = await self._settled(contents)
        if self._is_news(contents) and told == self._told_count:
            self._seen |= contents
            self._on_change()

    def _is_news(self, contents: Contents) -> bool:
        """Those that are followed no longer, since they were read, are none of ours."""
        files = self._files()
        return any(path in files and self._seen.get(path) != said for path, said in contents.items())

    async def _settled(self, contents: Contents) -> Contents:
        """What they say once all are quiet: a write in place is seen empty, then half, then whole."""
        for _ in range(QUIET_TRIES_MAX):
            await self._pause(QUIET_S)
            before, contents = contents, await self._read()
            if contents == before or self._stopping.is_set():
                break
        return contents

    async def _read(self) -> Contents:
        contents: Contents = {}
        for path in self._files():
            try:
                contents[path] = await asyncio.to_thread(hash_of, path)
            except OSError as error:
                self._report("config_unreadable", str(error), path)
            else:
                self._troubles.discard(("config_unreadable", path))
        return contents

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return

    def _report(self, event: str, why: str, path: Path) -> None:
        """Once, until it is over."""
        if (event, path) not in self._troubles:
            self._troubles.add((event, path))
            self._on_record(Record(event, "warning", {"path": str(path), "why": why}))

    def _files(self) -> tuple[Path, ...]:
        return (self._path, *self._lists)

    def _folders(self) -> set[Path]:
        """Where each name stands, and where the file itself lies: a link may be swapped, or its target. A
        folder that is not there yet cannot be watched: its file is polled for."""
        lists = [folder for path in self._lists for folder in folders_of(path) if folder.is_dir()]
        return {*folders_of(self._path), *lists}

    def _mounts(self) -> list[Path]:
        """The files that are mounts of their own."""
        mounted = {mount.split(" ")[4] for mount in MOUNTS.read_text().splitlines()}
        return [path for path in self._files() if str(path.resolve()) in mounted]


def folders_of(path: Path) -> tuple[Path, Path]:
    return path.parent, path.resolve().parent


def hash_of(path: Path) -> str:
    """Of a file only: to open a pipe again is to wait for a writer, and the end of lb would wait too."""
    if path.exists() and not path.is_file():
        raise OSError("it is not a regular file, so changes are not seen")
    with path.open("rb") as file:
        return hashlib.sha256(file.read(TEXT_MAX + 1)).hexdigest()  # no more of it is ever loaded
