"""What an endpoint answers: read up to a bound, and quoted so that a terminal and a log can show it."""

from __future__ import annotations

import asyncio

ANSWER_BYTES_MAX = 16 * 1024
QUOTED_CHARS_MAX = 60

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Failed(Exception):
    """The probe failed; the text is the detail."""


async def hear_more(reader: asyncio.StreamReader, heard: bytearray) -> bool:
    """Adds what came next; never more than ANSWER_BYTES_MAX in all. False: there is no more."""
    chunk = await reader.read(ANSWER_BYTES_MAX - len(heard))
    heard += chunk
    return bool(chunk)


def quoted(text: bytes | bytearray) -> str:
    """The beginning, made safe."""
    shown = bytes(text[:QUOTED_CHARS_MAX]).decode("ascii", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
