"""Server-sent events: one answer that goes on until its reader leaves, is stuck, or lb stops.

Whoever feeds it has the bounded queue: a reader that is slow loses events there, and is told how many.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Iterable

from aiohttp import web

from lb.shell.observed import Json

HEARTBEAT_S = 15.0  # proxies between us and the reader close what is silent for 30 s or more
STUCK_S = 60.0
HEADERS = {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}


def past(events: Iterable[Json]) -> web.Response:
    return web.Response(text="".join(map(_message, events)), headers=HEADERS)


async def send_events(
    request: web.Request, events: AsyncIterator[Json], stopping: asyncio.Event
) -> web.StreamResponse:
    response = web.StreamResponse(headers=HEADERS)
    await response.prepare(request)
    stop = asyncio.create_task(stopping.wait())
    coming = asyncio.create_task(_next(events))
    try:
        while True:
            await asyncio.wait({coming, stop}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
            if stop.done():
                break
            text = ": still here\n\n"
            if coming.done():
                if (event := coming.result()) is None:
                    break
                text = _message(event)
                coming = asyncio.create_task(_next(events))
            async with asyncio.timeout(STUCK_S):
                await response.write(text.encode())
        await response.write_eof()
    except (ConnectionError, TimeoutError):
        return response  # the reader left, or reads no more
    finally:
        coming.cancel()
        stop.cancel()
        await asyncio.wait({coming, stop})
        if isinstance(events, AsyncGenerator):
            await events.aclose()
    return response


async def _next(events: AsyncIterator[Json]) -> Json | None:
    """A task of its own: a heartbeat that interrupted the iterator itself would end it."""
    return await anext(events, None)


def _message(event: Json) -> str:
    return f"data: {json.dumps(event, default=str)}\n\n"
