"""Endpoints for lb to send sessions to: small servers in a process of their own, so that they can be killed.

`python -m tests.support.endpoints KIND --name a --port 0` prints {"port": N} and serves until it is killed.

    echo    sends back what it reads, also after the client's half-close, then closes
    name    sends its name and closes: the server that speaks first
    http    answers one request with its name, after --delay-ms, and closes
    hold    accepts, and neither reads nor answers
    source  sends --bytes of a known pattern, then closes
    sink    reads to the end of the stream, answers with the count and the SHA-256, closes
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from tests.support.ports import free_port
from tests.support.process import Process

STARTED_WITHIN_S = 15.0
BACKLOG = 4096
READ_BYTES = 65536

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Endpoint:
    """The test's side: one running server, which can be killed and started again on its port."""

    def __init__(self, kind: str, name: str, folder: Path, **options: int) -> None:
        self.kind, self.name, self.folder, self.options = kind, name, folder, options
        self.port = free_port()  # it must be free again after a kill
        self.process = self._started()

    def _started(self) -> Process:
        words = [sys.executable, "-m", "tests.support.endpoints", self.kind, "--name", self.name]
        for option, value in (self.options | {"port": self.port}).items():
            words += [f"--{option.replace('_', '-')}", str(value)]
        process = Process(f"endpoint-{self.name}", words, self.folder)
        try:
            process.next_line(STARTED_WITHIN_S)
        except BaseException:
            process.end()
            raise
        return process

    def kill(self) -> None:
        self.process.signal_group(signal.SIGKILL)
        self.process.wait(5.0, "it was killed")

    def start_again(self) -> None:
        self.process = self._started()


@contextmanager
def endpoint(kind: str, name: str, folder: Path, **options: int) -> Iterator[Endpoint]:
    started = Endpoint(kind, name, folder, **options)
    try:
        yield started
    finally:
        started.process.end()


@contextmanager
def endpoints(kind: str, names: str, folder: Path, **options: int) -> Iterator[dict[str, Endpoint]]:
    """Several of one kind, by name: endpoints("http", "a b c", ...)."""
    started: dict[str, Endpoint] = {}
    try:
        for name in names.split():
            started[name] = Endpoint(kind, name, folder, **options)
        yield started
    finally:
        for one in started.values():
            one.process.end()


def ports_of(started: dict[str, Endpoint]) -> dict[str, int]:
    return {name: one.port for name, one in started.items()}


def pattern(offset: int, size: int) -> bytes:
    """`size` bytes of the stream that a source sends, from `offset` on: no two blocks of 64 KiB are equal."""
    first, last = offset // 8, (offset + size + 7) // 8
    words = b"".join(index.to_bytes(8, "little") for index in range(first, last))
    return words[offset - first * 8 :][:size]


# ---- The process ------------------------------------------------------------------------------------


async def read_all(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await reader.read(READ_BYTES):
        yield chunk


def server(options: argparse.Namespace) -> Serve:
    name = options.name.encode()

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async for chunk in read_all(reader):
            writer.write(chunk)
            await writer.drain()

    async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(name)

    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await reader.readuntil(b"\r\n\r\n"):
            return
        if options.delay_ms:
            await asyncio.sleep(options.delay_ms / 1000)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(name), name))

    async def hold(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async def source(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for offset in range(0, options.bytes, READ_BYTES):
            writer.write(pattern(offset, min(READ_BYTES, options.bytes - offset)))
            await writer.drain()

    async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        count, digest = 0, hashlib.sha256()
        async for chunk in read_all(reader):
            count += len(chunk)
            digest.update(chunk)
        writer.write(json.dumps({"bytes": count, "sha256": digest.hexdigest()}).encode())

    return {"echo": echo, "name": speak, "http": http, "hold": hold, "source": source, "sink": sink}[
        options.kind
    ]


async def serve(options: argparse.Namespace) -> None:
    kind = server(options)

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await kind(reader, writer)
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, asyncio.IncompleteReadError):
            writer.close()  # the peer left first (a probe does): nothing is owed to it

    listening = await asyncio.start_server(session, options.host, options.port, backlog=BACKLOG)
    print(json.dumps({"port": listening.sockets[0].getsockname()[1]}), flush=True)
    await listening.serve_forever()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["echo", "name", "http", "hold", "source", "sink"])
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay-ms", type=int, default=0)
    parser.add_argument("--bytes", type=int, default=0)
    uvloop.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
