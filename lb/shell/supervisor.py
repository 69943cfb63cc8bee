"""The parts of the supervisor, put together, and what they answer to an operator.

Nothing here starts or ends anything: runner.py says what comes up when, and what ends before what.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from lb.config import Loaded
from lb.core.brain import Brain
from lb.core.events import OperatorOrdered, SessionsFailed
from lb.model.config import Config
from lb.model.endpoint import Admin, EndpointKey
from lb.model.record import Record
from lb.shell import limits, systemd
from lb.shell.crew import Crew, WorkerSettings
from lb.shell.datapath import LAYOUT, Board, Ring, compile_snapshot
from lb.shell.feed import Feed
from lb.shell.lag import Lag
from lb.shell.log import Log
from lb.shell.metrics import Exposition
from lb.shell.observed import Json, LastReload, Observed
from lb.shell.performer import Performer
from lb.shell.probes import Probes
from lb.shell.publisher import Publisher
from lb.shell.reload import ConfigState, Reloads
from lb.shell.sources import absent_sources
from lb.shell.status import status
from lb.shell.watcher import Watcher

CLOCK_SET_S = 0.5  # clocks drift by less; a turn of the loop, at whose beginning its time stands, is shorter
NOTHING_YET = Config(listeners=(), pools=())


class Supervisor:
    """`state` is starting, running or draining. It is the AdminSource of lb/shell/admin.py."""

    log: Log  # from open_log() on

    def __init__(self, path: Path, loaded: Loaded, feed: Feed, on_file_changed: Callable[[], None]) -> None:
        config, loop = loaded.config, asyncio.get_running_loop()
        self.state = "starting"
        self.started_at = time.time()
        self.feed = feed
        self._log_rule = config.log
        self._wall_ahead_s = self.started_at - loop.time()
        self.lag = Lag(loop)
        self._exposition = Exposition()
        nofile, count = limits.raise_nofile(), limits.worker_count(config)
        sessions_max, too_many = limits.sessions_max(config, nofile, count)
        self._too_many = [too_many] if too_many else []
        self._warnings = [*self._too_many, *machine_warnings(config)]

        self.board = Board.create(count)
        self.rings = [Ring.create() for _ in range(count)]
        self.crew = Crew(
            count=count,
            cpus=config.workers.cpus,
            board=self.board,
            rings=self.rings,
            settings=WorkerSettings(
                layout=LAYOUT,
                sessions_max=sessions_max,
                sessions_max_all=config.sessions_max or 0,
                pipes_max=limits.pipes_max(count, nofile),
                access=config.log.access != "off",
                orphan_s=config.shutdown.orphan_s,
                drain_s=config.shutdown.drain_s,
            ),
            compile_snapshot=compile_snapshot,
            on_failures=self._sessions_failed,
            on_event=self.emit,
        )
        self.brain = Brain(random.getrandbits(64))
        self.publisher = Publisher(self.crew.publish, self.crew.close_sessions, self._publish_failed)
        self.probes = Probes(
            loop, lambda finished: self.performer.handle(finished), lag=self.lag, on_record=self.emit
        )
        self.performer = Performer(
            self.brain, self.board, self.publisher, self.probes, self.emit, self.tell_bug
        )
        self.file = ConfigState(
            path=path,
            text=loaded.text,
            hash=loaded.text_hash,
            loaded_at=self.started_at,
            last=LastReload(success=True, at=self.started_at),
            warnings=tuple(map(str, loaded.warnings)),
            lists=loaded.lists,
        )
        self.watcher = Watcher(path, on_file_changed, seen=loaded.text_hash, on_record=self.emit)
        self.watcher.follow(loaded.lists)
        self.reloads = Reloads(
            self.file,
            self.performer,
            self.publisher,
            self.crew,
            self.emit,
            on_config=self._config_changed,
            before_read=self.watcher.note,
            on_lists=self.watcher.follow,
        )

    def open_log(self) -> None:
        """Not before root is given up: it has a thread, and capabilities are a thread's."""
        self.log = Log(self._log_rule.level, self._log_rule.format)
        self.log.capture_libraries()

    @property
    def config(self) -> Config:
        """What runs."""
        return self.brain.config or NOTHING_YET

    @property
    def warnings(self) -> list[str]:
        """On top of the file's."""
        return list(self._warnings)

    # ---- What happens --------------------------------------------------------------------------------

    def emit(self, record: Record) -> None:
        self.log.emit(record)
        self.feed.publish(record)

    def tell_bug(self, where: str, error: BaseException) -> None:
        """lb goes on as well as it can; nobody shall miss that it should not have come to this."""
        trace = "".join(traceback.format_exception(error))
        self.emit(Record("bug", "error", {"where": where, "error": repr(error), "trace": trace}))

    def _sessions_failed(self, endpoint_id: int, reasons: Mapping[str, int], in_row: int) -> None:
        self.performer.handle(SessionsFailed(endpoint_id, reasons, in_row))

    def _publish_failed(self, error: Exception) -> None:
        self.emit(Record("publish_failed", "error", {"error": f"{type(error).__name__}: {error}"}))

    def _config_changed(self, config: Config) -> Sequence[str]:
        self.log.configure(config.log.level, config.log.format)
        warnings = machine_warnings(config)
        self._warnings = [*self._too_many, *warnings]
        return warnings

    # ---- What is asked -------------------------------------------------------------------------------

    def status(self) -> Json:
        return status(self._observed())

    def metrics(self) -> bytes:
        return self._exposition.render(self._observed())

    def ready(self) -> tuple[bool, str]:
        if self.state != "running":
            return False, self.state
        if deaf := self.crew.deaf:
            return False, f"no worker accepts from {', '.join(sorted(deaf))}"
        return True, "ready"

    def config_text(self) -> str:
        return self.file.text

    def past(self) -> list[Json]:
        return self.feed.past()

    def subscribe(self) -> AsyncIterator[Json]:
        return self.feed.subscribe()

    async def reload(self) -> Json:
        """The service manager hears of it only between READY and STOPPING."""
        if self.state == "running":
            systemd.notify(systemd.reloading())
        outcome = await self.reloads.reload()
        if self.state == "running":
            systemd.notify(systemd.READY)
        return outcome.answer()

    def order(self, key: EndpointKey, admin: Admin | None, weight: int | None, who: str) -> Json:
        self.performer.order(OperatorOrdered(key, admin, weight, who))
        return {"pool": key.pool, "endpoint": key.endpoint, "generation": self.brain.generation}

    def _observed(self) -> Observed:
        now_s = asyncio.get_running_loop().time()
        return Observed(
            state=self.state,
            pid=os.getpid(),
            started_at=self.started_at,
            now_s=now_s,
            wall_s=self._wall_s(now_s),
            file=self.file,
            config=self.config,
            generation=self.brain.generation,
            warnings=self._warnings,
            endpoints=self.brain.endpoints(),
            listener_ids=self.brain.listener_ids,
            pool_ids=self.brain.pool_ids,
            panicking=self.brain.panicking,
            workers=self.crew.workers(),
            deaf=self.crew.deaf,
            board=self.board,
            loop_lag=self.lag.histogram(),
            check_duration=self.probes.duration_seconds,
            log_dropped_total=self.log.dropped_total,
        )

    def _wall_s(self, now_s: float) -> float:
        """A moment on the wall's clock: always the same for the same moment, unless that clock was set."""
        ahead_s = time.time() - now_s
        if abs(ahead_s - self._wall_ahead_s) > CLOCK_SET_S:
            self._wall_ahead_s = ahead_s
        return now_s + self._wall_ahead_s


def machine_warnings(config: Config) -> list[str]:
    """What of a configuration this machine does not give, without saying so when it is asked."""
    of_kernel = (limits.backlog_warning(config), limits.fast_open_warning(config))
    return [*filter(None, of_kernel), *absent_sources(config)]
