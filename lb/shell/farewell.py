"""How a probe leaves: politely, so that the logs of endpoints stay quiet, and within a bound."""

from __future__ import annotations

import asyncio

from lb.shell.questions.answer import Connection

FAREWELL_BYTES_MAX = 64 * 1024


async def farewell(connection: Connection, *, closes_itself: bool, within_s: float) -> None:
    """Reads on until the endpoint has closed too, so that nothing it says finds a closed socket.

    Who was asked to close ends by itself; a FIN before that would tell some servers that nobody waits for the
    answer. `within_s` leaves a round trip for what is on its way.
    """
    reader, writer = connection
    try:
        async with asyncio.timeout(within_s):
            if closes_itself:
                await read_out(reader)
            if not writer.can_write_eof():  # over TLS
                writer.close()
                await closed(writer)
            elif not closes_itself:
                writer.write_eof()
                await read_out(reader)
    except OSError:
        return  # it does not close in time, or it reset: the result stands either way


async def read_out(reader: asyncio.StreamReader) -> None:
    unread = FAREWELL_BYTES_MAX
    while unread > 0 and (chunk := await reader.read(unread)):
        unread -= len(chunk)


async def close(connection: Connection) -> None:
    """A FIN, if all was read; what of a request was not sent yet is dropped."""
    writer = connection[1]
    writer.transport.abort()
    await closed(writer)


async def closed(writer: asyncio.StreamWriter) -> None:
    """However it ends. Who waits for a stream waits for a future of its own, which must not be cancelled with
    one that waits no longer: the next would find it so."""
    closing = asyncio.get_running_loop().create_task(writer.wait_closed())
    closing.add_done_callback(lambda done: done.cancelled() or done.exception())
    await asyncio.wait([closing])
