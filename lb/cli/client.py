"""The running lb, asked over its unix socket.

Every call has a deadline for each step, and three outcomes: an answer, a refusal in lb's own words (exit 1),
or nobody there (exit 3), which names the socket that was tried and what to do about it.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, NamedTuple

from lb.cli.failure import NOT_REACHABLE, Failure

TIMEOUT_S = 5.0
EVENT_BYTES_MAX = 1 << 20

Json = dict[str, Any]


class Answer(NamedTuple):
    """`body` is a JSON object; `status` is below 500."""

    status: int
    body: Json

    @property
    def ok(self) -> bool:
        return self.status < 300


class UnixConnection(HTTPConnection):
    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    def __init__(self, path: str, timeout_s: float = TIMEOUT_S) -> None:
        self.path = path
        self._timeout_s = timeout_s

    def get(self, route: str) -> Json:
        """The answer to a question that has no `no`. Raises Failure."""
        answer = self._call("GET", route)
        if not answer.ok:
            raise Failure(refusal(answer.body))
        return answer.body

    def post(self, route: str, body: Json | None = None, timeout_s: float | None = None) -> Answer:
        """The answer, whether yes or no. Raises Failure only when lb cannot be reached."""
        return self._call("POST", route, body or {}, timeout_s)

    def order(self, route: str, body: Json | None = None) -> Json:
        """What an order that was carried out answered. Raises Failure with the reason if it was refused."""
        answer = self.post(route, body)
        if not answer.ok:
            raise Failure(refusal(answer.body))
        return answer.body

    def events(self, route: str, *, follow: bool) -> Iterator[Json]:
        """Server-sent events, one JSON object each. Without `follow` lb ends the stream after the past."""
        connection = UnixConnection(self.path, self._timeout_s)
        with closing(connection):
            try:
                response = self._ask(connection, "GET", route)
                if response.status >= 300:
                    raise Failure(refusal(_json(response.read())))
                if follow and connection.sock is not None:
                    # A quiet lb is not a dead one: its end closes the stream.
                    connection.sock.settimeout(None)
                while line := response.readline(EVENT_BYTES_MAX):
                    if line.startswith(b"data:"):
                        yield json.loads(line.removeprefix(b"data:"))
            except (OSError, HTTPException, ValueError) as error:  # half a line is no JSON
                raise self._unreachable(error) from None

    def _call(
        self, method: str, route: str, body: Json | None = None, timeout_s: float | None = None
    ) -> Answer:
        connection = UnixConnection(self.path, timeout_s or self._timeout_s)
        with closing(connection):
            try:
                response = self._ask(connection, method, route, body)
                text = response.read()
            except (OSError, HTTPException) as error:
                raise self._unreachable(error) from None
        if response.status >= 500:
            raise Failure(f"lb failed to answer {method} {route}: {refusal(_json(text))}")
        return Answer(response.status, _json(text))

    @staticmethod
    def _ask(connection: UnixConnection, method: str, route: str, body: Json | None = None) -> HTTPResponse:
        content = None if body is None else json.dumps(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        connection.request(method, route, content, headers)
        return connection.getresponse()

    def _unreachable(self, error: Exception) -> Failure:
        match error:
            case FileNotFoundError():
                why = (
                    "does not exist; is lb running? Name another socket with --socket, "
                    "or the configuration file with -c"
                )
            case ConnectionRefusedError():
                why = "has nobody behind it; the lb that made it has ended"
            case PermissionError():
                why = "is not yours to use; run this as root, or as the user and group that lb runs as"
            case TimeoutError():
                why = "is there, but lb did not answer in time; it may be stopped or overloaded"
            case OSError(errno=errno.ENOTSOCK | errno.ENOTDIR):
                why = "is not a socket"
            case _:
                why = f"broke off: {str(error) or type(error).__name__}"
        return Failure(f"cannot reach lb: {self.path} {why}", NOT_REACHABLE)


def refusal(body: Json) -> str:
    """The sentence in an answer that says no."""
    text = str(body.get("error") or "refused")
    suggestion = body.get("suggestion")
    return f"{text}; {suggestion}" if suggestion else text


def _json(text: bytes) -> Json:
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    return body if isinstance(body, dict) else {"error": text.decode(errors="replace").strip()}
