"""One probe: connect, ask if there is something to ask, and say what came of it.

A probe has one absolute deadline, reads a bounded head, and leaves with a FIN: what the endpoint said is read
before the socket is closed, or the kernel would answer it with a reset and fill the endpoint's log. What our
own machine lacks (descriptors, memory, ports) is never held against the endpoint: ProbeImpossible.

Sockets and not an HTTP client: a thousand endpoints are a thousand probes a second, and a probe here costs
a tenth of what a full client's does.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import time
from dataclasses import dataclass

from lb.model.address import Address
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
}

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
INTERIM_ANSWER = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class ProbeImpossible(Exception):
    """This machine could not probe; the endpoint has shown nothing."""


@dataclass(frozen=True, slots=True)
class TimedOut(ProbeResult):
    """A failure that proves something only if our own loop was on time."""


async def run_probe(check: Check, address: Address) -> ProbeResult:
    """One attempt under `check` at `address` (where Check.target says). Raises ProbeImpossible."""
    started_s = time.monotonic()
    sock = _open(address)
    with sock:
        try:
            # asyncio's clock and uvloop's are this one, but uvloop's stands still during a turn.
            async with asyncio.timeout_at(started_s + check.timeout_s):
                await _connect(sock, address)
                ok, detail = (
                    (True, "connected") if check.http is None else await _ask(sock, address, check.http)
                )
        except TimeoutError:
            text = f"timeout after {check.timeout_s:g} s {_waiting_for(sock)}"
            return TimedOut(False, text, time.monotonic() - started_s)
        except _Failed as failed:
            return ProbeResult(False, str(failed), time.monotonic() - started_s)
        duration_s = time.monotonic() - started_s
        await _farewell(sock, asking=check.http is not None, within_s=FAREWELL_S + duration_s)
    return ProbeResult(ok, detail, duration_s)


class _Failed(Exception):
    """The probe failed; the text is the detail."""


def _open(address: Address) -> socket.socket:
    try:
        sock = socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise ProbeImpossible(f"socket: {os.strerror(error.errno or 0)}") from error
    sock.setblocking(False)
    return sock


async def _connect(sock: socket.socket, address: Address) -> None:
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address.host, address.port))
    except OSError as error:
        raise _translated("connect", error) from error
    if sock.getsockname() == sock.getpeername():
        # On loopback the kernel may draw the very port we look for as our own, and TCP allows the meeting.
        raise _Failed("connect: refused (it met itself)")


async def _ask(sock: socket.socket, address: Address, http: HttpRequest) -> tuple[bool, str]:
    """Sends the request and judges the status line."""
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, _request(http, address))
        head = bytearray()
        while (answer := _status_line(head)) is None:
            if len(head) >= HEAD_BYTES_MAX:
                raise _Failed(f"not HTTP: no status line in {HEAD_BYTES_MAX} bytes: {_quoted(head)}")
            chunk = await loop.sock_recv(sock, HEAD_BYTES_MAX - len(head))
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


def _request(http: HttpRequest, address: Address) -> bytes:
    """The operator's headers replace ours of the same name."""
    ours = {
        "Host": http.host or str(address),
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
    """Status and reason phrase, or None while they have not come. Early hints and their like are passed over."""
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


async def _farewell(sock: socket.socket, *, asking: bool, within_s: float) -> None:
    """Reads on until the endpoint has closed too, so that nothing it says finds a closed socket.

    Who was asked was told `Connection: close` and ends by itself; a FIN before that would tell some
    servers that nobody waits for the answer. `within_s` leaves a round trip for what is on its way.
    """
    loop = asyncio.get_running_loop()
    try:
        if not asking:
            sock.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(within_s):
            unread = FAREWELL_BYTES_MAX
            while unread > 0 and (chunk := await loop.sock_recv(sock, unread)):
                unread -= len(chunk)
    except (TimeoutError, OSError):
        return  # it does not close, or it reset: the result stands either way


def _translated(step: str, error: OSError) -> Exception:
    number = error.errno or 0
    if number in OURS:
        return ProbeImpossible(f"{step}: {os.strerror(number)}")
    return _Failed(f"{step}: {WORDS.get(number) or os.strerror(number)}")


def _waiting_for(sock: socket.socket) -> str:
    try:
        sock.getpeername()
    except OSError:
        return "(connecting)"
    return "(connected, no answer)"


def _quoted(text: bytes | bytearray) -> str:
    """What an endpoint sent, made safe for a terminal and a log line."""
    shown = bytes(text[:QUOTED_CHARS_MAX]).decode("ascii", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in shown)
