"""The life of lb: what comes up in which order, how it goes down, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lb.config import ConfigError
from lb.model.address import Address
from lb.model.record import Record
from lb.shell import runner as module
from lb.shell import signals
from lb.shell.admin_sockets import CannotListen
from lb.shell.bind_problem import BindError, BindProblem
from lb.shell.crew import CrewError
from lb.shell.publisher import PublishFailed
from lb.shell.runner import DEFECT, CannotStart, Runner
from tests.support.async_waiting import until

CONFIG = """\
runtime_dir: {folder}/run
shutdown: {{pre_drain: {pre_drain}, drain: 30s}}
listeners:
  web: {{bind: "127.0.0.1:8000", pool: web}}
pools:
  web: {{endpoints: ["10.0.0.1:80"]}}
"""


class Stage:
    """The parts of lb as stand-ins that write what they are told into one journal, with the state lb is in.

    `failing[step]` is raised by that step; `hanging` names steps that never end by themselves.
    """

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.hanging: set[str] = set()
        self.state = "starting"
        self.records: list[str] = []
        self.publishing: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def step(self, name: str) -> Callable[..., Any]:
        def told(*arguments: object, **named: object) -> Any:
            self.journal.append(name)
            if name in self.failing:
                raise self.failing[name]
            return SimpleNamespace(discard=self.step("bound.discard"), sockets=list, files=list)

        return told

    def waiting_step(self, name: str) -> Callable[..., Any]:
        told = self.step(name)

        async def told_and_waited(*arguments: object, **named: object) -> int:
            told()
            if name in self.hanging:
                await asyncio.Event().wait()
            return 0

        return told_and_waited

    def supervisor(self, path: Path, loaded: Any, feed: Any, on_file_changed: Any) -> Stage:
        """What Runner takes for a Supervisor is this stage itself."""
        step, waiting_step = self.step, self.waiting_step
        self.config = loaded.config
        self.file = SimpleNamespace(hash="", warnings=())
        self.warnings: list[str] = []
        self.rings: list[Any] = []
        self.brain = SimpleNamespace(generation=1)
        self.board = SimpleNamespace(close=step("board.close"))
        self.log = SimpleNamespace(stop=step("log.stop"))
        self.lag = SimpleNamespace(start=step("lag.start"), stop=step("lag.stop"))
        self.probes = SimpleNamespace(stop=waiting_step("probes.stop"))
        self.performer = SimpleNamespace(stop=step("performer.stop"))
        self.publisher = SimpleNamespace(run=lambda: self.publish())
        self.reloads = SimpleNamespace(
            start=waiting_step("reloads.start"), close=waiting_step("reloads.close")
        )
        self.crew = SimpleNamespace(
            bind=step("crew.bind"),
            start=waiting_step("crew.start"),
            drain=waiting_step("crew.drain"),
            stop=waiting_step("crew.stop"),
            workers=list,
        )
        self.watcher = SimpleNamespace(start=waiting_step("watcher.start"), stop=waiting_step("watcher.stop"))
        self.open_log = step("log.open")
        self.reload = waiting_step("reload")
        return self

    async def publish(self) -> None:
        await self.publishing

    def emit(self, record: Record) -> None:
        self.records.append(record.event)

    def tell_bug(self, where: str, error: BaseException) -> None:
        self.records.append(f"bug: {error}")


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage()
    admin = SimpleNamespace(start=stage.waiting_step("admin.start"), stop=stage.waiting_step("admin.stop"))
    access = SimpleNamespace(
        start=stage.step("access.start"),
        stop=stage.step("access.stop"),
        reopen=stage.step("access.reopen"),
    )
    monkeypatch.setattr(module, "Supervisor", stage.supervisor)
    monkeypatch.setattr(module, "Admin", lambda source: admin)
    monkeypatch.setattr(module, "AccessWriter", lambda *arguments, **named: access)
    monkeypatch.setattr(module, "drop_privileges", stage.step("drop_privileges"))
    return stage


@pytest.fixture(autouse=True)
def signals_as_before() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (*signals.OURS, signal.SIGUSR2)}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def runner_in(folder: Path, *, pre_drain: str = "0s", more: str = "") -> Runner:
    path = folder / "lb.yaml"
    path.write_text(CONFIG.format(folder=folder, pre_drain=pre_drain) + more)
    return Runner(path)


async def serving(runner: Runner) -> asyncio.Task[int]:
    life = asyncio.create_task(runner.run())
    await until(lambda: runner.serving.is_set() or life.done(), "lb serves")
    if life.done():
        life.result()
    return life


def send(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)


UP = [
    "crew.bind", "log.open", "access.start", "lag.start", "admin.start", "crew.start", "reloads.start",
    "watcher.start",
]  # fmt: skip
DOWN = [
    "watcher.stop", "performer.stop", "probes.stop", "crew.stop", "admin.stop", "lag.stop", "access.stop",
    "log.stop", "bound.discard", "board.close",
]  # fmt: skip


async def test_life_goes_up_serves_drains_and_goes_down_in_order(stage: Stage, tmp_path: Path) -> None:
    runner = runner_in(tmp_path)
    life = await serving(runner)
    assert (stage.state, stage.journal) == ("running", UP)
    send(signal.SIGTERM)
    assert await life == 0
    assert stage.journal == [*UP, "reloads.close", "crew.drain", *DOWN]
    assert stage.records == ["started", "draining", "drained"]


async def test_root_is_given_up_after_binding_and_before_any_thread(stage: Stage, tmp_path: Path) -> None:
    runner = runner_in(tmp_path, more="user: nobody\n")
    life = await serving(runner)
    assert stage.journal[:3] == ["crew.bind", "drop_privileges", "log.open"]
    send(signal.SIGINT)
    assert await life == 0


async def test_shutdown_says_not_ready_and_accepts_on_until_pre_drain_is_over(
    stage: Stage, tmp_path: Path
) -> None:
    """R3.4: who watches /ready must see 503 while connections are still taken."""
    runner = runner_in(tmp_path, pre_drain="100ms")
    life = await serving(runner)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    send(signal.SIGTERM)
    await until(lambda: stage.state == "draining", "the signal is heard")
    assert stage.journal == UP
    await until(lambda: "crew.drain" in stage.journal, "pre_drain is over")
    assert loop.time() - began_s >= 0.099
    assert await life == 0
    assert stage.journal.index("crew.drain") < stage.journal.index("admin.stop")


@pytest.mark.parametrize("phase", ["pre_drain", "crew.drain"])
async def test_second_signal_ends_it_at_once(stage: Stage, tmp_path: Path, phase: str) -> None:
    stage.hanging.add("crew.drain")
    runner = runner_in(tmp_path, pre_drain="1h" if phase == "pre_drain" else "0s")
    life = await serving(runner)
    send(signal.SIGTERM)
    await until(lambda: stage.state == "draining", "the first signal is heard")
    if phase == "crew.drain":
        await until(lambda: "crew.drain" in stage.journal, "it drains")
    send(signal.SIGINT)
    async with asyncio.timeout(1):
        assert await life == 0
    assert stage.journal[-len(DOWN) :] == DOWN


@pytest.mark.parametrize("step", ["admin.start", "crew.start", "reloads.start", "watcher.start"])
async def test_signal_during_the_start_takes_down_what_came_up(
    stage: Stage, tmp_path: Path, step: str
) -> None:
    stage.hanging.add(step)
    life = asyncio.create_task(runner_in(tmp_path).run())
    await until(lambda: step in stage.journal, "it starts")
    send(signal.SIGTERM)
    assert await life == 0
    assert stage.journal[-4:] == DOWN[-4:]
    assert "crew.drain" not in stage.journal
    assert "started" not in stage.records


@pytest.mark.parametrize(
    ("step", "error"),
    [
        ("crew.bind", BindError([BindProblem("web", Address("10.0.0.1", 80), "address already in use")])),
        ("access.start", OSError("no thread")),
        ("admin.start", CannotListen("admin.bind: in use")),
        ("crew.start", CrewError("no worker could start")),
        ("reloads.start", PublishFailed("generation 1")),
    ],
)
async def test_start_that_fails_says_why_and_takes_down_what_came_up(
    stage: Stage, tmp_path: Path, step: str, error: Exception
) -> None:
    stage.failing[step] = error
    with pytest.raises(CannotStart) as told:
        await runner_in(tmp_path).run()
    assert str(told.value) == str(error)
    assert stage.journal[-1] == "board.close"
    for part in ("crew", "admin", "log"):
        began = {"crew": "crew.start", "admin": "admin.start", "log": "log.open"}[part] in stage.journal
        assert (f"{part}.stop" in stage.journal) is began


async def test_bad_configuration_starts_nothing(stage: Stage, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        await runner_in(tmp_path, more="polls: {}\n").run()
    assert stage.journal == []


async def test_hangup_reloads_also_when_it_came_during_the_start(stage: Stage, tmp_path: Path) -> None:
    runner = runner_in(tmp_path)
    life = asyncio.create_task(runner.run())
    await until(lambda: stage.journal, "it starts")
    send(signal.SIGHUP)
    await until(lambda: "reload" in stage.journal, "the file is loaded again")
    assert stage.journal.index("reload") > stage.journal.index("reloads.start")
    send(signal.SIGTERM)
    assert await life == 0


@pytest.mark.parametrize("fails", [False, True])
async def test_usr1_opens_the_access_log_again(stage: Stage, tmp_path: Path, fails: bool) -> None:
    if fails:
        stage.failing["access.reopen"] = OSError("the disk is gone")
    runner = runner_in(tmp_path)
    life = await serving(runner)
    send(signal.SIGUSR1)
    await until(lambda: "access.reopen" in stage.journal, "it is opened again")
    assert ("access_log_not_reopened" in stage.records) is fails
    send(signal.SIGTERM)
    assert await life == 0


async def test_end_of_a_part_that_lb_needs_is_told_drained_and_an_exit_code(
    stage: Stage, tmp_path: Path
) -> None:
    runner = runner_in(tmp_path)
    life = await serving(runner)
    stage.publishing.set_exception(RuntimeError("defect"))
    assert await life == DEFECT
    assert stage.records == ["started", "bug: defect", "draining", "drained"]


async def test_failure_in_the_background_is_told_and_lb_goes_on(stage: Stage, tmp_path: Path) -> None:
    stage.failing["reload"] = RuntimeError("defect")
    runner = runner_in(tmp_path)
    life = await serving(runner)
    send(signal.SIGHUP)
    await until(lambda: "bug: defect" in stage.records, "it is told")
    assert not life.done()
    send(signal.SIGTERM)
    assert await life == 0


async def test_runtime_folder_is_made_for_others_to_pass_through(stage: Stage, tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        runner = runner_in(tmp_path)
        life = await serving(runner)
    finally:
        os.umask(before)
    assert (tmp_path / "run").stat().st_mode & 0o777 == 0o755
    send(signal.SIGTERM)
    assert await life == 0


async def test_runtime_folder_that_cannot_be_made_names_the_key(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file is in the way")
    with pytest.raises(CannotStart, match=r"runtime_dir: cannot make .*/run: .*; set runtime_dir to"):
        await runner_in(tmp_path).run()
