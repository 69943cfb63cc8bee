"""One probe: connect, ask if there is something to ask, and say what came of it.

A probe has one absolute deadline, reads a bounded head, and leaves with a FIN: what the endpoint said is read
before the socket is closed, or the kernel would answer it with a reset and fill the endpoint's log. What our
own machine lacks (descriptors, memory, ports) is never held against the endpoint: ProbeImpossible. Where the
endpoint expects a PROXY header it gets one that says that lb comes for itself.

Streams and not an HTTP client: a thousand endpoints are a thousand probes a second, and each costs a fifth of
what it does with aiohttp.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import time
from dataclasses import dataclass

from lb.model.address import Address, SocketAddress
from lb.model.check import Check, HttpRequest, ProbeResult

HEAD_BYTES_MAX = 16 * 1024
FAREWELL_BYTES_MAX = 64 * 1024
FAREWELL_S = 0.1
QUOTED_CHARS_MAX = 60

OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "timed out",
    errno.ENOENT: "no such file",
    errno.EACCES: "permission denied",
    errno.EAGAIN: "its queue is full",  # of a unix socket: over TCP it would not answer
}

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
INTERIM_ANSWER = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ProbeImpossible(Exception):
    """This machine could not probe; the endpoint has shown nothing."""


@dataclass(frozen=True, slots=True)
class TimedOut(ProbeResult):
    """A failure that proves something only if our own loop was on time."""


async def run_probe(check: Check, address: SocketAddress) -> ProbeResult:
    """One attempt under `check` at `address` (where Check.target says). Raises ProbeImpossible."""
    started_s = time.monotonic()
    connection: Connection | None = None
    try:
        # asyncio's clock and uvloop's are this one, but uvloop's stands still during a turn.
        async with asyncio.timeout_at(started_s + check.timeout_s):
            connection = await _connect(address)
            ok, detail = True, "connected"
            if check.send_proxy is not None:
                connection[1].write(check.send_proxy.own_header)
            if check.http is not None:
                ok, detail = await _ask(connection, address, check.http)
        duration_s = time.monotonic() - started_s
        await _farewell(connection, asked=check.http is not None, within_s=FAREWELL_S + duration_s)
        return ProbeResult(ok, detail, duration_s)
    except _Failed as failed:
        return ProbeResult(False, str(failed), time.monotonic() - started_s)
    except TimeoutError:
        where = "connecting" if connection is None else "connected, no answer"
        return TimedOut(False, f"timeout after {check.timeout_s:g} s ({where})", time.monotonic() - started_s)
    finally:
        if connection is not None:
            await _close(connection)


class _Failed(Exception):
    """The probe failed; the text is the detail."""


async def _connect(address: SocketAddress) -> Connection:
    try:
        if isinstance(address, Address):
            connection = await asyncio.open_connection(address.host, address.port, limit=HEAD_BYTES_MAX)
        else:
            connection = await asyncio.open_unix_connection(
                sock=connected(address.path), limit=HEAD_BYTES_MAX
            )
    except OSError as error:
        raise _translated("connect", error) from error
    writer = connection[1]
    if writer.get_extra_info("sockname") == writer.get_extra_info("peername"):
        # On loopback the kernel may draw the very port we look for as our own, and TCP allows the meeting.
        await _close(connection)
        raise _Failed("connect: refused (it met itself)")
    return connection


def connected(path: str) -> socket.socket:
    """A unix socket answers at once. Not by the loop: asyncio takes EAGAIN, a full queue, for a connect under
    way. Raises OSError."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.connect(path)
    except OSError:
        sock.close()
        raise
    return sock


async def _ask(connection: Connection, address: SocketAddress, http: HttpRequest) -> tuple[bool, str]:
    """Sends the request and judges the status line."""
    reader, writer = connection
    try:
        writer.write(_request(http, address))
        head = bytearray()
        while (answer := _status_line(head)) is None:
            if len(head) >= HEAD_BYTES_MAX:
                raise _Failed(f"not HTTP: no status line in {HEAD_BYTES_MAX} bytes: {_quoted(head)}")
            chunk = await reader.read(HEAD_BYTES_MAX - len(head))
            if not chunk:
                raise _Failed(f"not HTTP: {_quoted(head)}" if head else "closed without an answer")
            head += chunk
    except OSError as error:
        raise _translated("answer", error) from error
    status, reason = answer
    if any(first <= status <= last for first, last in http.status):
        return True, f"{status} {reason}".rstrip()
    expected = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in http.status)
    return False, f"answered {status}, expected {expected}"


def _request(http: HttpRequest, address: SocketAddress) -> bytes:
    """The operator's headers replace ours of the same name. Of a path curl and nginx say localhost too."""
    ours = {
        "Host": http.host or (str(address) if isinstance(address, Address) else "localhost"),
        "User-Agent": "lb-check",
        "Accept": "*/*",
        "Connection": "close",
    }
    if http.method not in SAFE_METHODS:
        ours["Content-Length"] = "0"
    given = {name.lower() for name, _ in http.headers}
    headers = [*((name, value) for name, value in ours.items() if name.lower() not in given), *http.headers]
    lines = [f"{http.method} {http.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def _status_line(head: bytearray) -> tuple[int, str] | None:
    """Status and reason phrase, or None while they have not come. Early hints and the like do not count."""
    position = 0
    while interim := INTERIM_ANSWER.match(head, position):
        position = interim.end()
    rest = head[position:]
    if found := STATUS_LINE.match(rest):
        status = int(found[1])
        return None if status < 200 and status != 101 else (status, _quoted(found[2] or b""))
    if b"\n" in rest or not rest.startswith(b"HTTP/1."[: len(rest)]):
        raise _Failed(f"not HTTP: {_quoted(rest)}")
    return None


async def _farewell(connection: Connection, *, asked: bool, within_s: float) -> None:
    """Reads on until the endpoint has closed too, so that nothing it says finds a closed socket.

    Who was asked was told `Connection: close` and ends by itself; a FIN before that would tell some
    servers that nobody waits for the answer. `within_s` leaves a round trip for what is on its way.
    """
    reader, writer = connection
    try:
        if not asked:
            writer.write_eof()
        async with asyncio.timeout(within_s):
            unread = FAREWELL_BYTES_MAX
            while unread > 0 and (chunk := await reader.read(unread)):
                unread -= len(chunk)
    except OSError:
        return  # it does not close in time, or it reset: the result stands either way


async def _close(connection: Connection) -> None:
    """A FIN, if all was read; what of a request was not sent yet is dropped."""
    writer = connection[1]
    writer.transport.abort()
    try:
        await writer.wait_closed()
    except OSError:
        return  # it was broken before


def _translated(step: str, error: OSError) -> Exception:
    number = error.errno or errno.ECONNRESET  # asyncio's own "connection lost" has no number
    if number in OURS:
        return ProbeImpossible(f"{step}: {os.strerror(number)}")
    return _Failed(f"{step}: {WORDS.get(number) or os.strerror(number)}")


def _quoted(text: bytes | bytearray) -> str:
    """What an endpoint sent, made safe for a terminal and a log line."""
    shown = bytes(text[:QUOTED_CHARS_MAX]).decode("ascii", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
