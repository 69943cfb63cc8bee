"""SMTP: a greeting, EHLO, and QUIT, so that the endpoint's log shows a session that ended as it should."""

from __future__ import annotations

import asyncio
import re

from lb.model.address import SocketAddress
from lb.model.check import SmtpGreeting
from lb.shell.questions.answer import Connection, Failed, Passed, hear_line, quoted

LINES_MAX = 100
REPLY_LINE = re.compile(rb"([2-5][0-9]{2})([ -]|$)")


async def ask(connection: Connection, smtp: SmtpGreeting, address: SocketAddress) -> Passed:
    reader, writer = connection
    heard = bytearray()
    greeting = await reply(reader, heard, b"220")
    writer.write(f"EHLO {smtp.domain}\r\n".encode())
    await reply(reader, heard, b"250")
    writer.write(b"QUIT\r\n")
    return Passed(quoted(greeting))


async def reply(reader: asyncio.StreamReader, heard: bytearray, wanted: bytes) -> bytes:
    """The last line of one. Raises Failed when it is another."""
    for _ in range(LINES_MAX):
        line = await hear_line(reader, heard)
        found = REPLY_LINE.match(line)
        if found is None:
            raise Failed(f"not SMTP: {quoted(line)}")
        if found[1] != wanted:
            raise Failed(f"answered {quoted(line)}")
        if found[2] != b"-":
            return line
    raise Failed(f"a reply of more than {LINES_MAX} lines")
