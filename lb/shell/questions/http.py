"""An HTTP request, judged by the status of its answer and, where the check says so, by the body.

The status line is read by hand: a probe that asks no more costs a fifth of one made with an HTTP client, and
what is not HTTP at all is quoted. A body is left to h11, which knows how each ends.
"""

from __future__ import annotations

import re

import h11

from lb.model.address import Address, SocketAddress
from lb.model.check import HttpRequest
from lb.model.pattern import compiled
from lb.shell.questions.answer import ANSWER_BYTES_MAX, Connection, Failed, Passed, hear_more, quoted

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: ([^\r\n]*))?\r?\n")
INTERIM_ANSWER = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")
SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


async def ask(connection: Connection, http: HttpRequest, address: SocketAddress) -> Passed:
    """Sends the request and judges the answer."""
    reader, writer = connection
    writer.write(request(http, address))
    heard = bytearray()
    while (answer := status_line(heard)) is None:
        if len(heard) == ANSWER_BYTES_MAX:
            raise Failed(f"not HTTP: no status line in {ANSWER_BYTES_MAX} bytes: {quoted(heard)}")
        if not await hear_more(reader, heard):
            raise Failed(f"not HTTP: {quoted(heard)}" if heard else "closed without an answer")
    status, reason = answer
    if not any(first <= status <= last for first, last in http.status):
        expected = ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in http.status)
        raise Failed(f"answered {status}, expected {expected}")
    if http.body is not None:
        await find_in_body(connection, http, heard, http.body)
    return Passed(f"{status} {reason}".rstrip())


def request(http: HttpRequest, address: SocketAddress) -> bytes:
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


def status_line(head: bytearray) -> tuple[int, str] | None:
    """Status and reason phrase, or None while they have not come. Early hints and the like do not count."""
    position = 0
    while interim := INTERIM_ANSWER.match(head, position):
        position = interim.end()
    rest = head[position:]
    if found := STATUS_LINE.match(rest):
        status = int(found[1])
        return None if status < 200 and status != 101 else (status, quoted(found[2] or b""))
    if b"\n" in rest or not rest.startswith(b"HTTP/1."[: len(rest)]):
        raise Failed(f"not HTTP: {quoted(rest)}")
    return None


async def find_in_body(connection: Connection, http: HttpRequest, heard: bytearray, pattern: str) -> None:
    """Returns once the pattern is found in as much of the body as there is room for. Raises Failed. What
    matches at the end of what has come may be no match of what is to come (`up$` of upset)."""
    parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=ANSWER_BYTES_MAX)
    parser.send(h11.Request(method=http.method, target=http.path, headers=[("Host", "lb")]))
    parser.send(h11.EndOfMessage())
    wanted, body, more = compiled(pattern), bytearray(), bytes(heard)
    while True:
        try:
            parser.receive_data(more)
            ended = read_body(parser, body)
        except h11.RemoteProtocolError as error:
            raise Failed(f"not HTTP: {str(error).partition(':')[0]}") from error
        is_all = ended or not more or len(heard) == ANSWER_BYTES_MAX
        found = wanted.search(bytes(body))
        if found and (is_all or found.end() < len(body)):
            return
        if is_all:
            where = f"in {len(body)} bytes of the body" if body else "in an empty body"
            raise Failed(f"no match of /{pattern}/ {where}: {quoted(body)}".removesuffix(": "))
        before = len(heard)
        await hear_more(connection[0], heard)
        more = bytes(heard[before:])


def read_body(parser: h11.Connection, body: bytearray) -> bool:
    """Adds what the parser has of the body. True: that was its end."""
    while True:
        event = parser.next_event()
        if event is h11.NEED_DATA:
            return False
        if isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)) or event is h11.PAUSED:
            return True
        if isinstance(event, h11.Data):
            body += event.data
