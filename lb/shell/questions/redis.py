"""PING as Redis and Valkey know it, after a password where there is one; and what they say of their role.

The protocol (RESP) in as much as these answers take: one line, or a text of announced length.
"""

from __future__ import annotations

import asyncio

from lb.model.address import SocketAddress
from lb.model.check import RedisPing, Role
from lb.shell.questions.answer import (
    ANSWER_BYTES_MAX,
    Connection,
    Failed,
    Passed,
    hear_line,
    hear_more,
    quoted,
)

DIGITS_MAX = 8
ROLES = {b"master": Role.PRIMARY, b"slave": Role.REPLICA}


async def ask(connection: Connection, redis: RedisPing, address: SocketAddress) -> Passed:
    reader, writer = connection
    heard = bytearray()
    if redis.password is not None:
        given = [redis.password] if redis.user is None else [redis.user, redis.password]
        writer.write(command("AUTH", *given))
        if (found := await reply(reader, heard)) != b"+OK":  # some repeat what they were told
            raise Failed(f"answered {quoted(found.split()[0])} to AUTH" if found.split() else "not RESP")
    writer.write(command("PING"))
    await answered(reader, heard, b"PONG")
    writer.write(command("INFO", "replication"))
    return told(await reply(reader, heard))


def command(*words: str) -> bytes:
    parts = [word.encode() for word in words]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


async def answered(reader: asyncio.StreamReader, heard: bytearray, wanted: bytes) -> None:
    """Raises Failed when the reply is another."""
    if (found := await reply(reader, heard)) != b"+" + wanted:
        raise Failed(f"answered {quoted(found)}")


async def reply(reader: asyncio.StreamReader, heard: bytearray) -> bytes:
    """With its first byte, which tells what it is; of a text, the text."""
    line = await hear_line(reader, heard)
    if not line.startswith(b"$"):
        return line
    if not line[1:].isdigit() or len(line) > DIGITS_MAX or int(line[1:]) + 2 > ANSWER_BYTES_MAX:
        raise Failed(f"not RESP: {quoted(line)}")
    size = int(line[1:])
    while len(heard) < size + 2:
        if not await hear_more(reader, heard):
            raise Failed(f"closed amid a reply: {quoted(heard)}")
    return bytes(heard[:size])


def told(info: bytes) -> Passed:
    """Who may not ask (an ACL) has no role, and is alive all the same."""
    facts = dict(line.split(b":", 1) for line in info.splitlines() if b":" in line and line[:1] != b"-")
    role = ROLES.get(facts.get(b"role", b""))
    seconds = facts.get(b"master_last_io_seconds_ago", b"-1")
    is_linked = facts.get(b"master_link_status") == b"up" and seconds.isdigit()
    lag_s = float(seconds) if role is Role.REPLICA and is_linked else None
    return Passed("PONG" if role is None else f"PONG, {role.value}", role, lag_s)
