"""A file that says something new is noticed, however it came to say it; anything else is not."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import uvloop

from lb.model.record import Record
from lb.shell import watcher as module
from lb.shell.watcher import Watcher, hash_of

SOON_S = 1.0  # well under the poll: an event was seen
POLLED_S = 10.0


class Watched:
    """A watched file and what was noticed about it."""

    def __init__(self, path: Path, seen: str | None = None) -> None:
        self.path = path
        self.changes = 0
        self.records: list[Record] = []
        self._news = asyncio.Event()
        self._watcher = Watcher(path, self._on_change, seen=seen, on_record=self._on_record)

    def follow(self, *lists: Path) -> None:
        """As lb does once it has read them."""
        self._watcher.follow({str(path): hash_of(path) if path.is_file() else None for path in lists})

    async def __aenter__(self) -> Watched:
        await self._watcher.start()
        await asyncio.sleep(module.QUIET_S)  # the watch stands; what came before is polled for
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._watcher.stop()

    async def note(self) -> None:
        await self._watcher.note()

    async def changed(self, count: int, within_s: float = SOON_S) -> None:
        """Returns when `count` changes were noticed, and makes sure that no more follow at once."""
        async with asyncio.timeout(within_s):
            while self.changes < count:
                await self._next()
        await asyncio.sleep(2 * module.QUIET_S)
        assert self.changes == count

    async def reported(self, event: str, within_s: float = POLLED_S) -> None:
        async with asyncio.timeout(within_s):
            while event not in [record.event for record in self.records]:
                await self._next()

    async def _next(self) -> None:
        self._news.clear()
        await self._news.wait()

    def _on_change(self) -> None:
        self.changes += 1
        self._news.set()

    def _on_record(self, record: Record) -> None:
        self.records.append(record)
        self._news.set()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "lb.yaml"
    path.write_text("one")
    return path


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await scenario()

    uvloop.run(main())


def renamed_over(path: Path, text: str) -> None:
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def test_watcher_notices_a_write_in_place(file: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            file.write_text("two")
            await watched.changed(1)

    run(scenario)


def test_watcher_notices_each_file_renamed_over_it(file: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            for number in range(1, 4):
                renamed_over(file, f"text {number}")
                await watched.changed(number)

    run(scenario)


def test_watcher_notices_a_swapped_link_as_kubernetes_does_it(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        (tmp_path / f"..{number}").mkdir()
        (tmp_path / f"..{number}" / "lb.yaml").write_text(f"text {number}")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "lb.yaml").symlink_to("..data/lb.yaml")

    async def scenario() -> None:
        async with Watched(tmp_path / "lb.yaml") as watched:
            for number in (2, 3):
                (tmp_path / "..new").symlink_to(f"..{number}")
                (tmp_path / "..new").rename(tmp_path / "..data")
                await watched.changed(number - 1, within_s=POLLED_S)
                shutil.rmtree(tmp_path / f"..{number - 1}")

    run(scenario)


def test_watcher_notices_a_write_to_the_file_behind_a_link(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    (real / "lb.yaml").write_text("one")
    named = tmp_path / "named"
    named.mkdir()
    (named / "lb.yaml").symlink_to(real / "lb.yaml")

    async def scenario() -> None:
        async with Watched(named / "lb.yaml") as watched:
            (real / "lb.yaml").write_text("two")
            await watched.changed(1)

    run(scenario)


def test_watcher_notices_a_file_that_was_deleted_and_made_again(file: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            file.unlink()
            await watched.reported("config_unreadable")
            file.write_text("two")
            await watched.changed(1)

    run(scenario)


def test_watcher_does_not_take_an_unreadable_file_for_a_change(file: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            for number in (1, 2):  # reported again after it was well in between
                file.unlink()
                file.mkdir()
                await watched.reported("config_unreadable")
                assert watched.changes == number - 1
                file.rmdir()
                file.write_text(f"text {number}")
                await watched.changed(number)
                assert [record.event for record in watched.records] == ["config_unreadable"]
                watched.records.clear()

    run(scenario)


def test_watcher_does_not_take_the_same_words_for_a_change(file: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            file.write_text("one")
            renamed_over(file, "one")
            (file.parent / "other").write_text("something")
            await watched.changed(0)

    run(scenario)


def test_watcher_takes_a_storm_of_writes_for_few_changes(file: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            for number in range(50):
                file.write_text(f"text {number}")
                await asyncio.sleep(0.01)
            await watched.changed(1)

    run(scenario)


def test_watcher_looks_at_a_file_that_is_never_quiet_all_the_same(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "QUIET_TRIES_MAX", 3)
    monkeypatch.setattr(module, "QUIET_S", 0.02)

    async def scenario() -> None:
        async with Watched(file) as watched:
            async with asyncio.timeout(POLLED_S):
                number = 0
                while watched.changes < 2:
                    number += 1
                    renamed_over(file, f"text {number}")
                    await asyncio.sleep(0.005)

    run(scenario)


def test_watcher_notices_without_events_by_polling(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*folders: Path, **options: object) -> object:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(module, "awatch", refused)
    monkeypatch.setattr(module, "POLL_S", 0.05)

    async def scenario() -> None:
        async with Watched(file) as watched:
            await watched.reported("config_watch_failed")
            file.write_text("two")
            await watched.changed(1)
            assert [record.event for record in watched.records] == ["config_watch_failed"]

    run(scenario)


def test_watcher_notices_what_changed_since_the_file_was_loaded(file: Path) -> None:
    async def scenario() -> None:
        async with Watched(file, seen=hashlib.sha256(b"zero").hexdigest()) as watched:
            await watched.changed(1, within_s=POLLED_S)

    run(scenario)


def test_watcher_notices_a_file_that_says_again_what_it_said_before_it_was_loaded(file: Path) -> None:
    """One, two and loaded, one again, all before anybody looked: lb runs two and the file says one."""

    async def scenario() -> None:
        async with Watched(file) as watched:
            file.write_text("two")
            await watched.note()
            file.write_text("one")
            await watched.changed(1)

    run(scenario)


def test_watcher_warns_of_a_file_that_is_a_mount_of_its_own(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mounts = file.with_name("mountinfo")
    mounts.write_text(f"22 28 0:21 / /proc rw\n31 28 8:1 /lb.yaml {file} rw,relatime - ext4 /dev/sda1 rw\n")
    monkeypatch.setattr(module, "MOUNTS", mounts)

    async def scenario() -> None:
        async with Watched(file) as watched:
            assert [record.event for record in watched.records] == ["config_watch_limited"]

    run(scenario)


def test_watcher_of_a_pipe_reports_it_and_still_ends(tmp_path: Path) -> None:
    """Defect: `lb run -c <(...)` opened the pipe again, waited for a writer, and no signal could end lb."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)

    async def scenario() -> None:
        async with asyncio.timeout(POLLED_S), Watched(pipe, seen="what it said at the start") as watched:
            await watched.note()
            await watched.reported("config_unreadable")
            assert watched.changes == 0

    run(scenario)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A list in a folder of its own."""
    (tmp_path / "lists").mkdir()
    path = tmp_path / "lists" / "blocked.txt"
    path.write_text("one")
    return path


@pytest.mark.parametrize("way", ["in place", "renamed over", "made again"])
def test_watcher_notices_a_list_that_changed(file: Path, listed: Path, way: str) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            watched.follow(listed)
            for number in (1, 2, 3):
                if way == "renamed over":
                    renamed_over(listed, f"text {number}")
                else:
                    if way == "made again":
                        listed.unlink()
                    listed.write_text(f"text {number}")
                await watched.changed(number, within_s=POLLED_S)

    run(scenario)


def test_watcher_notices_a_list_whose_link_was_swapped(file: Path) -> None:
    for number in (1, 2):
        file.with_name(f"list{number}").write_text(f"text {number}")
    link = file.with_name("list")
    link.symlink_to("list1")

    async def scenario() -> None:
        async with Watched(file) as watched:
            watched.follow(link)
            file.with_name("new").symlink_to("list2")
            file.with_name("new").rename(link)
            await watched.changed(1, within_s=POLLED_S)

    run(scenario)


def test_watcher_notices_a_list_that_was_not_there(tmp_path: Path, file: Path) -> None:
    """Not even its folder."""
    listed = tmp_path / "later" / "list"

    async def scenario() -> None:
        async with Watched(file) as watched:
            watched.follow(listed)
            await watched.reported("config_unreadable")
            listed.parent.mkdir()
            listed.write_text("one")
            await watched.changed(1, within_s=POLLED_S)
            file.write_text("two")
            await watched.changed(2, within_s=POLLED_S)

    run(scenario)


def test_watcher_takes_a_file_and_its_list_written_together_for_one_change(file: Path, listed: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            watched.follow(listed)
            file.write_text("two")
            listed.write_text("two")
            await watched.changed(1, within_s=POLLED_S)

    run(scenario)


def test_watcher_leaves_a_list_alone_that_is_named_no_more(file: Path, listed: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            watched.follow(listed)
            watched.follow()
            listed.write_text("two")
            file.write_text("two")
            await watched.changed(1, within_s=POLLED_S)
            listed.unlink()
            file.write_text("three")
            await watched.changed(2, within_s=POLLED_S)
            assert watched.records == []

    run(scenario)


def test_watcher_does_not_take_for_news_what_was_loaded_of_a_list(file: Path, listed: Path) -> None:
    async def scenario() -> None:
        async with Watched(file) as watched:
            watched.follow(listed)
            listed.write_text("two")
            watched.follow(listed)
            file.write_text("two")
            await watched.changed(1, within_s=POLLED_S)

    run(scenario)
