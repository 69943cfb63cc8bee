"""A reload is one transaction: whatever fails in it, what was before serves on, and the next one works."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from lb.config import ConfigError, load
from lb.core.brain import Brain
from lb.core.commands import Command
from lb.core.events import ConfigLoaded, Event, OperatorOrdered
from lb.model.address import Address
from lb.model.config import Config
from lb.model.endpoint import Admin, EndpointKey
from lb.model.networks import Networks
from lb.model.record import Record
from lb.shell.bind_problem import BindError, BindProblem
from lb.shell.observed import LastReload
from lb.shell.performer import Performer
from lb.shell.publisher import Publisher
from lb.shell.reload import ConfigState, Outcome, Reloads, read_again
from tests.support.async_waiting import until
from tests.support.scripted_crew import ScriptedCrew

BEFORE = """\
listeners:
  web: {bind: "127.0.0.1:8000", pool: web}
pools:
  web: {endpoints: [{name: a, address: "10.0.0.1:80"}, {name: b, address: "10.0.0.2:80"}]}
"""
AFTER = """\
listeners:
  web: {bind: "127.0.0.1:8001", pool: web}
pools:
  web: {endpoints: [{name: b, address: "10.0.0.2:80"}, {name: c, address: "10.0.0.3:80"}]}
"""
PORT_BEFORE, PORT_AFTER = Address("127.0.0.1", 8000), Address("127.0.0.1", 8001)
TAKEN = BindError([BindProblem("web", PORT_AFTER, "address already in use")])


class BrainWithDefect(Brain):
    """Fails once, when it is asked to: after it was told, so that it may be half-way."""

    defect: Exception | None = None

    def handle(self, event: Event, now: float) -> list[Command]:
        commands = super().handle(event, now)
        if isinstance(event, ConfigLoaded) and self.defect:
            defect, self.defect = self.defect, None
            raise defect
        return commands


class NoBoard:
    def sessions_open_by_endpoint(self) -> dict[int, int]:
        return {}

    def sessions_open_by_listener(self) -> dict[int, int]:
        return {}

    def forget_endpoint(self, number: int) -> None: ...
    def forget_listener(self, number: int) -> None: ...
    def forget_pool(self, number: int) -> None: ...


class NoProbes:
    def forget(self, key: EndpointKey) -> None: ...


class Bench:
    """What a reload works on, with a fake crew; BEFORE runs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.crew: Any = ScriptedCrew()
        self.records: list[Record] = []
        self.bugs: list[Exception] = []
        self.configs: list[Config] = []
        self.missing: list[str] = []  # of what a configuration wants of the machine
        self.brain = BrainWithDefect(1)
        self.publisher = Publisher(self.crew.publish, self.crew.close_sessions, lambda error: None)
        board: Any = NoBoard()
        probes: Any = NoProbes()
        self.performer = Performer(
            self.brain,
            board,
            self.publisher,
            probes,
            self.records.append,
            lambda _, error: self.bugs.append(error),
        )
        state = ConfigState(path, "", "", 0.0, LastReload(True, 0.0))
        self.reads: list[str] = []
        self.lists: set[str] = set()  # by name, that are followed
        self.reloads = Reloads(
            state,
            self.performer,
            self.publisher,
            self.crew,
            self.records.append,
            self._on_config,
            before_read=self._before_read,
            on_lists=self._on_lists,
            read=self._read,
        )

    def _on_config(self, config: Config) -> list[str]:
        self.configs.append(config)
        return self.missing

    async def _before_read(self) -> None:
        self.reads.append("note")

    def _on_lists(self, lists: Mapping[str, str | None]) -> None:
        self.lists = {Path(path).name for path in lists}

    def _read(self, path: Path) -> Any:
        self.reads.append("read")
        return load(path)

    def write(self, text: str) -> None:
        self.path.write_text(text)

    async def reload(self, text: str) -> Outcome:
        self.write(text)
        return await self.reloads.reload()

    def events(self) -> list[str]:
        return [record.event for record in self.records]

    def assert_before_serves(self) -> None:
        assert self.brain.config == load_text(BEFORE, self.path)
        assert self.crew.eligible() == {"a", "b"}
        assert self.crew.open_binds == {PORT_BEFORE}
        assert self.crew.held == 0

    def assert_after_serves(self) -> None:
        assert self.crew.eligible() == {"b", "c"}
        assert self.crew.open_binds == {PORT_AFTER}
        assert self.crew.held == 0


def load_text(text: str, beside: Path) -> Config:
    path = beside.with_name("other.yaml")
    path.write_text(text)
    return load(path).config


@asynccontextmanager
async def bench_at(path: Path) -> AsyncIterator[Bench]:
    path.write_text(BEFORE)
    bench = Bench(path)
    publishing = asyncio.create_task(bench.publisher.run())
    config = load(path).config
    await bench.reloads.start(config, bench.crew.bind(config.listeners))
    bench.assert_before_serves()
    bench.crew.journal.clear()
    bench.records.clear()
    try:
        yield bench
    finally:
        bench.performer.stop()
        publishing.cancel()


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with bench_at(tmp_path / "lb.yaml") as made:
        yield made


async def test_reload_goes_through_its_steps_in_order(bench: Bench) -> None:
    outcome = await bench.reload(AFTER)
    assert outcome.ok
    assert bench.crew.journal == ["bind", "publish", "open", "close_absent"]
    assert outcome.generation == bench.brain.generation == bench.crew.published[-1]
    assert "endpoint web/c added" in outcome.changed
    assert bench.configs == [bench.brain.config]
    assert bench.reloads.state.text == AFTER
    bench.assert_after_serves()


FAULTS: dict[str, Exception] = {
    "bind": TAKEN,
    "publish": OSError("no memory for the snapshot"),
    "open": RuntimeError("a worker does not take it"),
    "close_absent": RuntimeError("a group does not end"),
    "brain": RuntimeError("a defect of the brain"),
}


@pytest.mark.parametrize("step", FAULTS)
async def test_reload_that_fails_at_any_step_changes_nothing_and_the_next_one_works(
    bench: Bench, step: str
) -> None:
    fault = FAULTS[step]
    if step == "brain":
        bench.brain.defect = fault
    else:
        bench.crew.failing[step] = fault
    refused = await bench.reload(AFTER)
    assert not refused.ok
    assert str(fault) in str(refused.errors[0])
    bench.assert_before_serves()
    assert bench.events().count("config_refused") == 1
    assert not bench.reloads.state.last.success
    assert bench.reloads.state.last.errors == tuple(map(str, refused.errors))
    assert bench.reloads.state.text != AFTER
    assert bench.configs == []

    assert (await bench.reloads.reload()).ok
    assert bench.reloads.state.last.success
    bench.assert_after_serves()


async def test_generation_goes_only_forward_when_a_reload_fails(bench: Bench) -> None:
    bench.crew.failing["open"] = FAULTS["open"]
    await bench.reload(AFTER)
    await bench.reload(AFTER)
    assert bench.crew.published == sorted(set(bench.crew.published))


async def test_bad_file_is_refused_with_every_problem_and_nothing_is_touched(bench: Bench) -> None:
    generation = bench.brain.generation
    outcome = await bench.reload(BEFORE + "pols: {}\nlog: {level: loud}\n")
    assert [error.line for error in outcome.errors] == [5, 6]
    assert bench.crew.journal == []
    assert bench.brain.generation == generation
    bench.assert_before_serves()
    answer = outcome.answer()
    assert answer["ok"] is False
    assert answer["errors"][0].keys() == {"file", "line", "column", "path", "message", "suggestion"}


@pytest.mark.parametrize("trouble", ["absent", "folder", "binary", "empty"])
async def test_file_that_cannot_be_read_is_refused(bench: Bench, trouble: str) -> None:
    bench.path.unlink()
    match trouble:
        case "folder":
            bench.path.mkdir()
        case "binary":
            bench.path.write_bytes(os.urandom(100) + b"\0\xff")
        case "empty":
            bench.path.touch()
    assert not (await bench.reloads.reload()).ok
    bench.assert_before_serves()
    if bench.path.is_dir():
        shutil.rmtree(bench.path)
    assert (await bench.reload(AFTER)).ok


async def test_change_of_a_list_alone_is_a_change_of_the_listener(bench: Bench) -> None:
    text = AFTER.replace("pool: web}", "pool: web, deny: {file: list.txt}}")
    file = bench.path.with_name("list.txt")
    file.write_text("10.0.0.0/8\n")
    assert (await bench.reload(text)).ok
    assert bench.lists == {"list.txt"}
    file.write_text("10.0.0.0/8\n# and nobody else\n")
    assert (await bench.reloads.reload()).changed == ()
    file.write_text("10.0.0.0/9\n")
    assert (await bench.reloads.reload()).changed == ("listener web changed: deny",)
    assert bench.brain.config is not None
    assert bench.brain.config.listeners[0].deny == Networks.parse(["10.0.0.0/9"])


async def test_list_that_is_wrong_is_refused_and_what_ran_serves_on(bench: Bench) -> None:
    text = BEFORE.replace("pool: web}", "pool: web, deny: {file: list.txt}}")
    file = bench.path.with_name("list.txt")
    file.write_text("10.0.0.0/33\n")
    outcome = await bench.reload(text)
    assert [(error.file, error.line) for error in outcome.errors] == [(str(file), 1)]
    bench.assert_before_serves()
    assert bench.lists == {"list.txt"}


async def test_lists_are_followed_while_they_may_mend_a_refused_file(bench: Bench) -> None:
    """Defect averted: the file is broken, or gone for a moment, and comes back with the words it had."""
    text = AFTER.replace("pool: web}", "pool: web, deny: {file: %s}}")
    for name in ("old.txt", "new.txt"):
        bench.path.with_name(name).write_text("10.0.0.0/8\n")
    await bench.reload(text % "old.txt")
    assert not (await bench.reload("listeners: [")).ok
    assert bench.lists == {"old.txt"}
    assert not (await bench.reload(text % "new.txt" + "pols: {}\n")).ok
    assert bench.lists == {"old.txt", "new.txt"}
    bench.crew.failing["bind"] = TAKEN
    assert not (await bench.reload(text % "new.txt" + "log: {level: debug}\n")).ok
    assert bench.lists == {"old.txt", "new.txt"}
    assert (await bench.reloads.reload()).ok
    assert bench.lists == {"new.txt"}


async def test_several_bind_problems_are_all_told(bench: Bench) -> None:
    both = [BindProblem("web", PORT_AFTER, "in use"), BindProblem("dns", PORT_BEFORE, "not permitted")]
    bench.crew.failing["bind"] = BindError(both)
    outcome = await bench.reload(AFTER)
    assert [error.message for error in outcome.errors] == [str(problem) for problem in both]


@pytest.mark.parametrize("text", [BEFORE, "# a comment\n" + BEFORE])
async def test_same_configuration_is_no_change_and_keeps_its_generation(bench: Bench, text: str) -> None:
    generation = bench.brain.generation
    outcome = await bench.reload(text)
    assert (outcome.ok, outcome.changed, outcome.generation) == (True, (), generation)
    assert bench.crew.journal == []
    assert bench.events() == ["config_unchanged"]
    assert bench.reloads.state.text == text


async def test_key_that_takes_a_restart_is_warned_about_and_its_old_value_stays(bench: Bench) -> None:
    outcome = await bench.reload(AFTER + "workers: 7\n")
    assert outcome.ok
    assert "workers.count" in outcome.warnings[0]
    assert bench.brain.config is not None
    assert bench.brain.config.workers.count is None
    assert bench.reloads.state.warnings == outcome.warnings
    bench.assert_after_serves()


async def test_reload_warns_of_what_the_machine_does_not_give(bench: Bench) -> None:
    """It is no word of the file's: status shows what is missing now."""
    bench.missing = ["this machine has no address 192.0.2.7"]
    outcome = await bench.reload(AFTER)
    assert outcome.ok
    assert outcome.warnings == ("this machine has no address 192.0.2.7",)
    assert bench.reloads.state.warnings == ()
    assert "config_warned" in bench.events()


async def test_change_that_touches_no_worker_publishes_nothing(bench: Bench) -> None:
    generation = bench.brain.generation
    outcome = await bench.reload(BEFORE + "log: {level: debug}\n")
    assert (outcome.changed, outcome.generation) == (("settings changed: log.level",), generation)
    assert bench.configs[-1].log.level == "debug"
    assert bench.crew.published == [generation]


async def test_operators_order_outlives_a_reload_that_was_undone(bench: Bench) -> None:
    bench.performer.order(OperatorOrdered(EndpointKey("web", "b"), admin=Admin.DRAIN))
    bench.crew.failing["open"] = FAULTS["open"]
    assert not (await bench.reload(AFTER)).ok
    assert bench.crew.eligible() == {"a"}


async def test_reloads_asked_for_at_once_share_one_run(bench: Bench) -> None:
    bench.write(AFTER)
    outcomes = await asyncio.gather(*(bench.reloads.reload() for _ in range(50)))
    assert all(outcome.ok for outcome in outcomes)
    assert bench.reads == ["note", "read"]


async def test_reload_asked_for_while_one_runs_reads_the_file_again(bench: Bench) -> None:
    bench.crew.slow = asyncio.Event()
    first = asyncio.create_task(bench.reload(AFTER))
    await until(lambda: bench.crew.journal, "it has read the file and bound")
    bench.write(BEFORE)
    later = [asyncio.create_task(bench.reloads.reload()) for _ in range(20)]
    await asyncio.sleep(0)
    bench.crew.slow.set()
    assert (await first).ok
    assert all(outcome.ok for outcome in await asyncio.gather(*later))
    assert bench.reads == ["note", "read"] * 2
    bench.assert_before_serves()


async def test_asker_that_goes_away_does_not_stop_the_reload(bench: Bench) -> None:
    bench.crew.slow = asyncio.Event()
    gone = asyncio.create_task(bench.reload(AFTER))
    await until(lambda: bench.crew.journal, "it has read the file and bound")
    stays = asyncio.create_task(bench.reloads.reload())
    gone.cancel()
    bench.crew.slow.set()
    assert (await stays).ok
    bench.assert_after_serves()


async def test_reload_after_the_end_began_is_refused(bench: Bench) -> None:
    await bench.reloads.close()
    outcome = await bench.reload(AFTER)
    assert "draining" in outcome.errors[0].message
    bench.assert_before_serves()


def test_pipe_is_not_read_again(tmp_path: Path) -> None:
    """Defect: opening it waits for a writer, and with it waited the reload, and the end of lb."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(ConfigError, match="cannot be loaded again"):
        read_again(pipe)
