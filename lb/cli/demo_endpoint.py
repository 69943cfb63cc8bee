"""One endpoint of `lb demo`: an HTTP server that says who it is, and the demo's handle on its process.

The server runs as `python -m lb.cli.demo_endpoint NAME PORT PARENT_PID` (port 0: any free one); its first
line on stdout is the port it got. It dies with the process that started it.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress

from lb.cli.failure import Failure

START_TIMEOUT_S = 10.0
AGAIN_AFTER_S = 10.0

PR_SET_PDEATHSIG = 1
HEAD_BYTES_MAX = 16384
REQUEST_TIMEOUT_S = 30.0


class DemoEndpoint:
    """Started again on its port, AGAIN_AFTER_S after somebody ended it. `say` takes words for people."""

    def __init__(self, name: str, say: Callable[[str], None]) -> None:
        self.name, self.port, self.pid = name, 0, 0
        self._say = say
        self._process: Process | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, self.name, str(self.port), str(os.getpid()),
            stdout=PIPE,
            start_new_session=True,  # a Ctrl-C is for the demo alone, which ends its endpoints last
        )  # fmt: skip
        assert process.stdout is not None
        said = b""
        with suppress(TimeoutError):
            said = await asyncio.wait_for(process.stdout.readline(), START_TIMEOUT_S)
        if not said:
            raise Failure(f"endpoint {self.name} could not be started")
        self.port, self.pid = int(said), process.pid
        self._keeping = asyncio.create_task(self._keep(process))

    async def stop(self) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        if self._process is not None:
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()

    async def _keep(self, process: Process) -> None:
        await process.wait()
        self._say(f"endpoint {self.name}: process {process.pid} has ended")
        while self.pid == process.pid:
            await asyncio.sleep(AGAIN_AFTER_S)
            try:
                await self.start()
            except (Failure, OSError) as error:
                self._say(f"endpoint {self.name}: {error}")
        self._say(f"endpoint {self.name}: started again as process {self.pid}")


def main() -> None:
    name, port, parent = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to die with it
        return
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the demo starts us with its signals blocked
    asyncio.run(serve(name, port))


async def serve(name: str, port: int) -> None:
    body = f"hello from {name}\n".encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n"
    answer = head.encode() + b"Connection: close\r\n\r\n" + body

    async def answer_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_TIMEOUT_S)
            writer.write(answer)
            await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer_one, "127.0.0.1", port, limit=HEAD_BYTES_MAX)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    main()
