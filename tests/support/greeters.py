"""Endpoints in a thread of the test: each sends its name at once, a line, and then echoes what it reads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

CALL_S_MAX = 10.0
READ_BYTES = 65536
Result = TypeVar("Result")


class Greeters:
    """`ports` by name. One that stopped listening keeps the sessions that it has."""

    def __init__(self, names: Sequence[str]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="greeters", daemon=True)
        self._thread.start()
        self._servers = {name: self._call(self._serve(name)) for name in names}
        self.ports: dict[str, int] = {
            name: server.sockets[0].getsockname()[1] for name, server in self._servers.items()
        }

    def stop_listening(self, name: str) -> None:
        """Whoever connects from now on is refused."""
        self._loop.call_soon_threadsafe(self._servers[name].close)

    def close(self) -> None:
        for name in self._servers:
            self.stop_listening(name)
        self._call(self._end_sessions())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CALL_S_MAX)
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CALL_S_MAX)

    async def _serve(self, name: str) -> asyncio.Server:
        async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                writer.write(name.encode() + b"\n")
                while data := await reader.read(READ_BYTES):
                    writer.write(data)
                    await writer.drain()
            except ConnectionError:
                return  # the peer left first: nothing is owed to it
            finally:
                writer.close()

        return await asyncio.start_server(greet, "127.0.0.1", 0, backlog=1024)

    async def _end_sessions(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def greeters(names: Sequence[str]) -> Iterator[Greeters]:
    made = Greeters(names)
    try:
        yield made
    finally:
        made.close()
