"""An agent: a program beside the endpoint whose line says how it is, in the words of HAProxy's agent-check:

    up                            it serves
    down fail failed stopped      it does not; what follows # is said to people
    ready drain maint             as an operator would order it
    75%                           of its weight

Several may stand in a line, apart by spaces or commas. Other words are passed over, for a newer agent.
"""

from __future__ import annotations

import asyncio

from lb.model.address import SocketAddress
from lb.model.check import AgentQuery, AgentWords
from lb.model.endpoint import Agent
from lb.shell.questions.answer import ANSWER_BYTES_MAX, Connection, Failed, Passed, hear_more, quoted

PERCENT_MAX = 256
UP = {"up": True, "down": False, "fail": False, "failed": False, "stopped": False}
WISHES = {"ready": Agent.READY, "drain": Agent.DRAIN, "maint": Agent.MAINT}


async def ask(connection: Connection, query: AgentQuery, address: SocketAddress) -> Passed:
    reader, writer = connection
    if query.send:
        writer.write(query.send)
    line = await first_line(reader)
    words = understood(line)
    if words == AgentWords():
        raise Failed(f"no word of an agent: {quoted(line)}" if line else "closed without an answer")
    return Passed(quoted(line), agent=words)


async def first_line(reader: asyncio.StreamReader) -> bytes:
    """Without its end, which may be that of the stream."""
    heard = bytearray()
    while b"\n" not in heard and len(heard) < ANSWER_BYTES_MAX and await hear_more(reader, heard):
        pass
    return bytes(heard).partition(b"\n")[0].strip()


def understood(line: bytes) -> AgentWords:
    up: bool | None = None
    wish: Agent | None = None
    percent: int | None = None
    said = line.partition(b"#")[0].decode("ascii", "replace").lower()
    for word in said.replace(",", " ").split():
        up = UP.get(word, up)
        wish = WISHES.get(word, wish)
        number = word.removesuffix("%")
        if word != number and number.isascii() and number.isdigit() and len(number) < 4:
            percent = min(int(number), PERCENT_MAX)
    return AgentWords(up, wish, percent)
