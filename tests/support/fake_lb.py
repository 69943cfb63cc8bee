"""A running lb as the command line sees it: a unix socket that answers what a test says.

`answers` maps "METHOD /path" (without the query) to a status and a body, or to a list of them, one for each
time it is asked. What was asked, with its body, stands in `asked`.
"""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, NamedTuple

Answer = tuple[int, Any]


class Ended(NamedTuple):
    """How a command of the command line ended."""

    code: int
    out: str
    err: str


Lb = Callable[..., Ended]  # runs `lb WORDS`


class FakeLb(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True

    def __init__(self, path: Path) -> None:
        self.path = path
        self.answers: dict[str, Answer | list[Answer]] = {}
        self.asked: list[tuple[str, Any]] = []
        super().__init__(str(path), Handler)

    def take(self, request: str) -> Answer:
        answer = self.answers.get(request, (404, {"error": f"no {request}"}))
        if isinstance(answer, list):
            return answer.pop(0) if len(answer) > 1 else answer[0]
        return answer


class Handler(BaseHTTPRequestHandler):
    server: FakeLb

    def do_GET(self) -> None:
        self.answer(None)

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.answer(json.loads(self.rfile.read(length)))

    def answer(self, body: Any) -> None:
        request = f"{self.command} {self.path.partition('?')[0]}"
        self.server.asked.append((f"{self.command} {self.path}", body))
        status, answer = self.server.take(request)
        text = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:
        """A test's output is its own."""


@contextmanager
def fake_lb(folder: Path) -> Iterator[FakeLb]:
    with FakeLb(folder / "admin.sock") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(5)
