"""A reload is one transaction: read, bind, tell the brain, publish, open what is new, close what has gone.

Whatever fails, at whatever step, leaves the configuration before it serving, is recorded, and is answered
with every problem; nothing of it is left for the next one to stumble over. The start is the same transaction,
with nothing before it.

    read        the file and the lists it names, or every problem of them at once
    keep        keys that only a restart can change go on with their old values, and are warned about
    unchanged?  the answer is yes, and the generation stays
    bind        new sockets, all or none; no worker knows of them, so discarding them is all there is to undo
    commit      brain -> snapshot -> every worker acknowledged -> the new sockets accept
                undone by committing the configuration before: the brain keeps the health of what stayed
    close       sockets that left the configuration, emptied first

People, signals and the file itself ask for reloads. One runs at a time and one more waits: it has not read
the file yet, so it serves everybody who asked since.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lb.config import ConfigError, Diff, Loaded, Problem, apply_kept, diff, load
from lb.core.events import ConfigLoaded
from lb.model.config import Config
from lb.model.record import Record
from lb.shell.bind_problem import BindError
from lb.shell.binding import Bound
from lb.shell.crew import Crew
from lb.shell.observed import LastReload
from lb.shell.performer import Performer
from lb.shell.publisher import Publisher


def read_again(path: Path) -> Loaded:
    """Raises ConfigError. A pipe said all it had to say at the start; to open it again may wait for ever."""
    if path.exists() and not path.is_file():
        message = "is not a regular file, so it cannot be loaded again"
        raise ConfigError([Problem(str(path), 0, 0, "", message, "write it to a file, and restart lb")])
    return load(path)


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one reload: what changed, in words, or `errors`, and then nothing did."""

    generation: int
    changed: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[Problem, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.errors

    def answer(self) -> dict[str, Any]:
        """As the API gives it."""
        if self.errors:
            return {"ok": False, "errors": [asdict(error) for error in self.errors]}
        return {
            "ok": True,
            "generation": self.generation,
            "changed": list(self.changed),
            "warnings": list(self.warnings),
        }


@dataclass(slots=True)
class ConfigState:
    """The file: what runs of it, and how the last attempt to load it went. `loaded_at` is wall-clock time."""

    path: Path
    text: str
    hash: str
    loaded_at: float
    last: LastReload
    warnings: tuple[str, ...] = ()
    lists: Mapping[str, str | None] = field(default_factory=dict)


class Reloads:
    """`before_read` comes before the file is read. `on_lists` is told after it which lists it names, and what
    was read of them: as long as it is refused, also those of the file before it. `on_config` is told each
    configuration that runs in the place of another, and may warn about it."""

    def __init__(
        self,
        state: ConfigState,
        performer: Performer,
        publisher: Publisher,
        crew: Crew,
        emit: Callable[[Record], None],
        on_config: Callable[[Config], Sequence[str]],
        before_read: Callable[[], Awaitable[None]],
        on_lists: Callable[[Mapping[str, str | None]], None],
        read: Callable[[Path], Loaded] = read_again,
    ) -> None:
        self.state = state
        self._performer, self._publisher, self._crew = performer, publisher, crew
        self._emit, self._on_config = emit, on_config
        self._before_read, self._on_lists, self._read = before_read, on_lists, read
        self._turn = asyncio.Lock()
        self._next: asyncio.Task[Outcome] | None = None
        self._closed = False

    async def start(self, config: Config, bound: Bound) -> None:
        """The first configuration. Raises what went wrong: there is nothing to go back to."""
        async with self._turn:
            await self._commit(config, bound)

    async def reload(self) -> Outcome:
        """Never raises for what may be wrong with a file, a socket or a worker: that is in the answer."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(), name="reload")
        return await asyncio.shield(self._next)  # who asked may go away; others may have asked too

    async def close(self) -> None:
        """Returns when none runs; from now on every one is refused."""
        self._closed = True
        async with self._turn:
            return

    async def _run(self) -> Outcome:
        async with self._turn:
            self._next = None  # who asks from here on may have changed the file after it was read
            try:
                return await self._reload()
            except ConfigError as error:
                self._on_lists({**self.state.lists, **error.lists})
                return self._refused(error.problems)
            except BindError as error:
                return self._refused([self._problem(str(problem)) for problem in error.problems])
            except Exception as error:
                return self._refused([self._problem(f"{type(error).__name__}: {error}")])

    async def _reload(self) -> Outcome:
        if self._closed:
            return self._refused([self._problem("lb is draining; nothing is loaded any more")])
        running = self._performer.brain.config
        if running is None:
            return self._refused([self._problem("lb is still starting; what the file says now comes after")])
        await self._before_read()
        loaded = await asyncio.to_thread(self._read, self.state.path)
        self._on_lists({**self.state.lists, **loaded.lists})
        differing = diff(running, loaded.config, file=str(self.state.path))
        config = apply_kept(running, loaded.config)
        found: Sequence[str] = ()
        if config == running:
            self._emit(Record("config_unchanged", "info", {"path": str(self.state.path)}))
        else:
            found = await self._replace(running, config)
        return self._accepted(loaded, differing, found)

    async def _replace(self, running: Config, config: Config) -> Sequence[str]:
        bound = self._crew.bind(config.listeners)
        try:
            await self._commit(config, bound)
        except Exception:
            bound.discard()
            await self._undo(running)
            raise
        return self._on_config(config)

    async def _commit(self, config: Config, bound: Bound) -> None:
        brain = self._performer.brain
        self._performer.order(ConfigLoaded(config))
        await self._publisher.acknowledged(brain.generation)
        await self._crew.open(bound, brain.listener_ids)
        await self._crew.close_absent(config.listeners)

    async def _undo(self, running: Config) -> None:
        """If publishing is what failed, it may fail again; then workers never left `running`."""
        try:
            await self._commit(running, self._crew.bind(running.listeners))
        except Exception as error:
            self._emit(Record("config_undo_failed", "error", {"error": f"{type(error).__name__}: {error}"}))

    def _accepted(self, loaded: Loaded, differing: Diff, found: Sequence[str]) -> Outcome:
        """`found`: what this machine does not give."""
        now = time.time()
        warnings = tuple(str(warning) for warning in (*loaded.warnings, *differing.warnings))
        state = self.state
        state.text, state.hash, state.warnings = loaded.text, loaded.text_hash, warnings
        state.loaded_at, state.last = now, LastReload(success=True, at=now)
        state.lists = loaded.lists
        self._on_lists(loaded.lists)
        for warning in (*warnings, *found):
            self._emit(Record("config_warned", "warning", {"warning": warning}))
        changes = tuple(map(str, differing.changes))
        return Outcome(self._performer.brain.generation, changes, (*warnings, *found))

    def _refused(self, errors: Sequence[Problem]) -> Outcome:
        texts = tuple(map(str, errors))
        self.state.last = LastReload(success=False, at=time.time(), errors=texts)
        self._emit(Record("config_refused", "error", {"path": str(self.state.path), "errors": list(texts)}))
        return Outcome(self._performer.brain.generation, errors=tuple(errors))

    def _problem(self, message: str) -> Problem:
        """One that has no place in the file."""
        return Problem(str(self.state.path), 0, 0, "", message)
