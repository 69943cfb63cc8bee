"""A program that says by its exit code whether an endpoint serves.

It runs in a session of its own, with an environment that has the endpoint and nothing of ours, and is killed
with all that it started when it has ended or its time is up. What it writes is read as it comes, and the
beginning is kept.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lb.model.address import Address, SocketAddress
from lb.model.check import Program
from lb.shell.questions.answer import Failed, Passed, quoted

OUTPUT_BYTES_MAX = 4096
CHUNK_BYTES = 65536
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class CannotRun(Exception):
    """The program could not be started, which says nothing about the endpoint."""


async def ask(program: Program, address: SocketAddress) -> Passed:
    facts = facts_of(address)
    words = [program.path, *(filled(word, facts) for word in program.arguments)]
    with output() as (heard, ours, theirs):
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=subprocess.DEVNULL,
                stdout=theirs,
                stderr=theirs,
                env={
                    "PATH": PATH,
                    "LANG": "C",
                    **{f"LB_{name.upper()}": text for name, text in facts.items()},
                },
                start_new_session=True,
            )
        except OSError as error:
            raise CannotRun(f"{program.path}: {error.strerror or error}") from error
        try:
            code = await process.wait()
        finally:
            with suppress(ProcessLookupError, PermissionError):  # one that became somebody else is left
                os.killpg(process.pid, signal.SIGKILL)
        take(ours, heard)
    return judged(code, bytes(heard))


def facts_of(address: SocketAddress) -> dict[str, str]:
    if isinstance(address, Address):
        return {"address": str(address), "host": address.host, "port": str(address.port)}
    return {"address": str(address), "host": address.path, "port": ""}


def filled(word: str, facts: dict[str, str]) -> str:
    for name, text in facts.items():
        word = word.replace(f"{{{name}}}", text)
    return word


@contextmanager
def output() -> Iterator[tuple[bytearray, int, int]]:
    """What was heard so far, our end of a pipe, and the program's. Not the loop's own pipes: those are waited
    for until whoever the program left behind has closed them too."""
    heard, loop = bytearray(), asyncio.get_running_loop()
    ours, theirs = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(theirs, True)
    loop.add_reader(ours, take, ours, heard)
    try:
        yield heard, ours, theirs
    finally:
        loop.remove_reader(ours)
        os.close(ours)
        os.close(theirs)


def take(ours: int, heard: bytearray) -> None:
    with suppress(BlockingIOError):
        heard += os.read(ours, CHUNK_BYTES)[: OUTPUT_BYTES_MAX - len(heard)]


def name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of the real-time signals only the first and the last have names
        return f"signal {number}"


def judged(code: int, heard: bytes) -> Passed:
    """Raises Failed."""
    lines = heard.strip().splitlines()
    said = f": {quoted(lines[0])}" if lines else ""
    if code < 0:
        raise Failed(f"ended by {name_of(-code)}{said}")
    if code:
        raise Failed(f"exit code {code}{said}")
    return Passed(f"exit code 0{said}")
