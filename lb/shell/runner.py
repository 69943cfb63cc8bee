"""The life of lb, from the file to the exit code.

    up      read, bind, give up root; then threads, the admin server (it answers: starting), workers, the
            configuration, the watcher. What fails before the end of this ends lb, with the reason
    serve   until a signal
    down    /ready says so; pre_drain; no new sessions; drain. The admin server answers throughout, and a
            second signal skips what is left of it

Whatever came up is taken down in the reverse order.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from lb import __version__
from lb.config import load
from lb.model.config import Config
from lb.model.record import Record
from lb.shell import signals, systemd
from lb.shell.access_watch import watch_access_log
from lb.shell.admin import Admin
from lb.shell.admin_sockets import CannotListen
from lb.shell.bind_problem import BindError
from lb.shell.crew import CrewError
from lb.shell.datapath import AccessWriter
from lb.shell.feed import Feed
from lb.shell.orphans import relieve
from lb.shell.place import places
from lb.shell.privileges import PrivilegeError, capabilities_of, drop_privileges
from lb.shell.publisher import PublishFailed
from lb.shell.supervisor import Supervisor

STDOUT = 1
WRITE_OUT_S_MAX = 0.5  # for what the logs still hold at the end; a stuck reader gets no more
DEFECT = 70  # the exit code (EX_SOFTWARE) when a part ended that lb cannot do without


class CannotStart(Exception):
    """The text is for the operator: what, and what to do about it."""


class Runner:
    """`serving` is set once every listener accepts; `feed` has the events from the beginning."""

    _supervisor: Supervisor  # once the file was read

    def __init__(self, path: Path) -> None:
        self.path = path
        self.feed = Feed()
        self.serving = asyncio.Event()
        self._access: AccessWriter | None = None
        self._stop = asyncio.Event()
        self._stop_now = asyncio.Event()
        self._exit_code = 0
        self._tasks = set[asyncio.Task[Any]]()  # the loop itself holds a task by a weak reference only

    async def run(self) -> int:
        """The exit code. Raises ConfigError or CannotStart."""
        loaded = load(self.path)
        async with AsyncExitStack() as down:
            down.callback(signals.block)  # an impatient third one must not break the end off
            try:
                self._supervisor = Supervisor(self.path, loaded, self.feed, self._reload)
                self._handle_signals()
                is_up = await completed(self._up(loaded.config, down), unless=self._stop)
            except (BindError, CannotListen, CrewError, OSError, PrivilegeError, PublishFailed) as error:
                raise CannotStart(str(error)) from error
            if is_up:
                self._serve()
                await self._stop.wait()
                await completed(self._drain(), unless=self._stop_now)
        return self._exit_code

    # ---- Up ------------------------------------------------------------------------------------------

    async def _up(self, config: Config, down: AsyncExitStack) -> None:
        """Each part is put on `down` before it starts: it may be interrupted half-way."""
        supervisor = self._supervisor
        down.callback(supervisor.board.close)
        for ring in supervisor.rings:
            down.callback(ring.close)
        folder = make_folder(Path(config.runtime_dir))
        relieved = await relieve(list(places(config.listeners)))
        bound = supervisor.crew.bind(config.listeners)
        down.callback(bound.discard)
        if config.user is not None:
            drop_privileges(
                config.user,
                paths=[folder, *bound.files()],
                sockets=bound.sockets(),
                keep=capabilities_of(config),
            )

        supervisor.open_log()
        down.callback(supervisor.log.stop, WRITE_OUT_S_MAX)
        if relieved:
            supervisor.emit(Record("orphans_relieved", "warning", {"pids": relieved}))
        if config.log.access != "off":
            self._access = open_access_log(supervisor, config.log.access)
            down.callback(self._access.stop, WRITE_OUT_S_MAX)
            watching = watch_access_log(self._access, config.log.access, supervisor.emit)
            down.callback(self._in_background(watching).cancel)
        down.callback(supervisor.lag.stop)
        supervisor.lag.start()
        admin = Admin(supervisor)
        down.push_async_callback(admin.stop)
        await admin.start(config.admin.bind, Path(config.admin_socket))

        down.push_async_callback(supervisor.crew.stop)
        await supervisor.crew.start()
        down.push_async_callback(supervisor.probes.stop)
        down.callback(supervisor.performer.stop)
        publishing = self._in_background(supervisor.publisher.run(), needed=True)
        down.callback(publishing.cancel)
        await supervisor.reloads.start(config, bound)
        down.push_async_callback(supervisor.watcher.stop)
        await supervisor.watcher.start()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: tell_failure(self._supervisor, context))
        signals.handle(
            loop,
            on_reload=self._reload,
            on_stop=lambda: (self._stop_now if self._stop.is_set() else self._stop).set(),
            on_reopen=self._reopen,
        )

    # ---- Serve ---------------------------------------------------------------------------------------

    def _serve(self) -> None:
        supervisor = self._supervisor
        supervisor.state = "running"
        for warning in (*supervisor.file.warnings, *supervisor.warnings):
            supervisor.emit(Record("config_warned", "warning", {"warning": warning}))
        facts = {"version": __version__, "pid": os.getpid(), "generation": supervisor.brain.generation}
        supervisor.emit(Record("started", "info", facts))
        systemd.notify(systemd.READY)
        self.serving.set()

    def _reload(self) -> None:
        async def once_up() -> None:
            await self.serving.wait()
            await self._supervisor.reload()

        self._in_background(once_up())

    def _reopen(self) -> None:
        if self._access is None:
            return
        try:
            self._access.reopen()
        except OSError as error:
            self._supervisor.emit(Record("access_log_not_reopened", "error", {"error": str(error)}))

    def _in_background(self, work: Coroutine[Any, Any, None], *, needed: bool = False) -> asyncio.Task[None]:
        """A failure is told. Where lb cannot do without, it drains and ends: whoever started it can again."""

        def ended(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()):
                self._supervisor.tell_bug(str(task.get_coro()), error)
                if needed:
                    self._exit_code = DEFECT
                    self._stop.set()

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(ended)
        return task

    # ---- Down ----------------------------------------------------------------------------------------

    async def _drain(self) -> None:
        supervisor = self._supervisor
        shutdown = supervisor.config.shutdown
        supervisor.state = "draining"
        systemd.notify(systemd.STOPPING)
        sessions = sum(worker.sessions_open for worker in supervisor.crew.workers())
        facts = {
            "pre_drain_s": shutdown.pre_drain_s,
            "drain_s": shutdown.drain_s,
            "sessions_open": sessions,
        }
        supervisor.emit(Record("draining", "info", facts))
        await asyncio.sleep(shutdown.pre_drain_s)
        await supervisor.reloads.close()
        cut = await supervisor.crew.drain(shutdown.drain_s)
        supervisor.emit(Record("drained", "warning" if cut else "info", {"sessions_cut": cut}))


def make_folder(path: Path) -> Path:
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)  # whatever the umask: others pass through to the admin socket
    except OSError as error:
        why = f"runtime_dir: cannot make {path}: {error.strerror}"
        raise CannotStart(f"{why}; set runtime_dir to a folder that this user may write") from error
    return path


def open_access_log(supervisor: Supervisor, where: str) -> AccessWriter:
    try:
        if where == "stdout":
            writer = AccessWriter(supervisor.rings, out_fd=STDOUT)
        else:
            writer = AccessWriter(supervisor.rings, path=where)
    except OSError as error:
        raise CannotStart(f"log.access: cannot open {where}: {error.strerror}") from error
    writer.start()
    return writer


def tell_failure(supervisor: Supervisor, context: dict[str, Any]) -> None:
    """What the loop caught: an exception in a callback, or of a task that nobody asked."""
    error = context.get("exception") or RuntimeError(context["message"])
    supervisor.tell_bug(context["message"], error)


async def completed(work: Coroutine[Any, Any, None], *, unless: asyncio.Event) -> bool:
    """Whether `work` came to its end before the event; if not, it is cancelled."""
    task, interrupt = asyncio.create_task(work), asyncio.create_task(unless.wait())
    try:
        await asyncio.wait({task, interrupt}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return False
    finally:
        task.cancel()
        interrupt.cancel()
