"""Tells when nobody takes the lines of the access log: a full disk, a reader that is stuck or gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from lb.model.record import Record

EVERY_S = 1.0  # the writer looks for lines several times in this time


class Writer(Protocol):
    @property
    def written_bytes(self) -> int: ...
    @property
    def waiting_bytes(self) -> int: ...


async def watch_access_log(
    writer: Writer, where: str, emit: Callable[[Record], None], every_s: float = EVERY_S
) -> None:
    """Until it is cancelled. Held up: lines waited at two looks, and none was written in between."""
    held_up, waited, written = False, False, 0
    while True:
        await asyncio.sleep(every_s)
        waits = writer.waiting_bytes > 0
        is_held_up = waits and waited and writer.written_bytes == written
        waited, written = waits, writer.written_bytes
        if is_held_up != held_up:
            held_up = is_held_up
            emit(held_up_record(where) if held_up else Record("access_log_resumed", "info", {"path": where}))


def held_up_record(where: str) -> Record:
    why = "the disk is full, or nobody reads; lines wait in memory, and are dropped when there are too many"
    return Record("access_log_held_up", "error", {"path": where, "why": why})
