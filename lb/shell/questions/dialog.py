"""A dialog: bytes are sent and awaited, step by step.

What is awaited may stand anywhere in what came since the step before; what follows it is kept for the next
step, as a server may greet and answer in one go.
"""

from __future__ import annotations

import asyncio

from lb.model.address import SocketAddress
from lb.model.check import Dialog, Expect, ExpectPattern, Send
from lb.model.pattern import compiled
from lb.shell.questions.answer import ANSWER_BYTES_MAX, Connection, Failed, Passed, hear_more, quoted


async def ask(connection: Connection, dialog: Dialog, address: SocketAddress) -> Passed:
    reader, writer = connection
    heard = bytearray()
    said = "sent"
    for number, step in enumerate(dialog.steps, start=1):
        if isinstance(step, Send):
            writer.write(step.data)
        else:
            start, end = await awaited(reader, heard, step, number)
            said = quoted(heard[start:end])
            del heard[:end]
    return Passed(said)


async def awaited(
    reader: asyncio.StreamReader, heard: bytearray, step: Expect | ExpectPattern, number: int
) -> tuple[int, int]:
    """Where in `heard` it stands, once it has come. Raises Failed."""
    while (found := place(step, heard)) is None:
        came = f"got {quoted(heard)}" if heard else "got nothing"
        if len(heard) == ANSWER_BYTES_MAX:
            raise Failed(f"step {number}: not {wanted(step)} in {ANSWER_BYTES_MAX} bytes; {came}")
        if not await hear_more(reader, heard):
            raise Failed(f"step {number}: closed before {wanted(step)}; {came}")
    return found


def place(step: Expect | ExpectPattern, heard: bytearray) -> tuple[int, int] | None:
    if isinstance(step, Expect):
        start = heard.find(step.data)
        return None if start < 0 else (start, start + len(step.data))
    found = compiled(step.pattern).search(bytes(heard))
    return found.span() if found else None


def wanted(step: Expect | ExpectPattern) -> str:
    return quoted(step.data) if isinstance(step, Expect) else f"/{step.pattern}/"
