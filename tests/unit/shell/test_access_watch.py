"""Whoever keeps the access log from being written is told of, once, and its end too."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from lb.model.record import Record
from lb.shell.access_watch import watch_access_log
from tests.support.async_waiting import until

LOOK_S = 0.01


@dataclass
class ScriptedWriter:
    written_bytes: int = 0
    waiting_bytes: int = 0


async def looks(writer: ScriptedWriter, records: list[Record], count: int = 8) -> list[str]:
    """What was told after some more looks."""
    await asyncio.sleep(count * LOOK_S)
    return [record.event for record in records]


async def test_lines_that_nobody_takes_are_told_once_and_so_is_their_end() -> None:
    writer, records = ScriptedWriter(written_bytes=100), list[Record]()
    watching = asyncio.create_task(watch_access_log(writer, "/log", records.append, LOOK_S))
    try:
        assert await looks(writer, records) == []
        writer.waiting_bytes = 50
        await until(lambda: records, "it is held up")
        assert await looks(writer, records) == ["access_log_held_up"]
        assert records[0].facts["path"] == "/log"
        writer.written_bytes, writer.waiting_bytes = 150, 0
        await until(lambda: len(records) > 1, "it goes on")
        assert await looks(writer, records) == ["access_log_held_up", "access_log_resumed"]
    finally:
        watching.cancel()
