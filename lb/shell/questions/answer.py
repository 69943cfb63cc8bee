"""What an endpoint answers: read up to a bound, and quoted so that a terminal and a log can show it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from lb.model.check import AgentWords, Role

ANSWER_BYTES_MAX = 16 * 1024
QUOTED_CHARS_MAX = 60

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True)
class Passed:
    """`role`: which the endpoint says it has; None: the protocol does not tell. `lag_s`: how far a replica is
    behind; None: it does not tell, or it has lost its primary. `agent`: what it said; None: it is none."""

    detail: str
    role: Role | None = None
    lag_s: float | None = None
    agent: AgentWords | None = None


class Failed(Exception):
    """The probe failed; the text is the detail."""


async def hear_more(reader: asyncio.StreamReader, heard: bytearray) -> bool:
    """Adds what came next; never more than ANSWER_BYTES_MAX in all. False: there is no more."""
    chunk = await reader.read(ANSWER_BYTES_MAX - len(heard))
    heard += chunk
    return bool(chunk)


async def hear_line(reader: asyncio.StreamReader, heard: bytearray) -> bytes:
    """Takes the next line out of what was heard, without its end. Raises Failed."""
    while (end := heard.find(b"\n")) < 0:
        if len(heard) == ANSWER_BYTES_MAX:
            raise Failed(f"no end of line in {ANSWER_BYTES_MAX} bytes: {quoted(heard)}")
        if not await hear_more(reader, heard):
            raise Failed(f"closed amid a line: {quoted(heard)}" if heard else "closed without an answer")
    line = bytes(heard[:end]).removesuffix(b"\r")
    del heard[: end + 1]
    return line


def quoted(text: bytes | bytearray) -> str:
    """The beginning, made safe."""
    shown = bytes(text[:QUOTED_CHARS_MAX]).decode("ascii", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
