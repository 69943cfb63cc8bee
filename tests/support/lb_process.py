"""lb as its users run it: `lb run -c FILE`, asked over its admin socket.

The folder holds the configuration, the runtime folder, and what lb wrote: events (stderr, JSON lines) and
access-log lines (stdout). Whatever ends a test, no process of lb outlives `running_lb`, and the end of the
log is in the report of a failure.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support import reachable
from tests.support.exposition import Exposition
from tests.support.process import Process
from tests.support.source import ROOT
from tests.support.waiting import answers, eventually

READY_WITHIN_S = 15.0
COMMAND_WITHIN_S = 20.0
ANSWER_WITHIN_S = 5.0
LB = Path(sys.executable).parent / "lb"


def configuration(*, listeners: dict[str, Any], pools: dict[str, Any], **top: Any) -> str:
    """The YAML text, one top-level key a line (JSON is YAML)."""
    keys = top | {"listeners": listeners, "pools": pools}
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in keys.items())


def one_pool(
    port: int,
    endpoints: dict[str, int],
    *,
    listener: dict[str, Any] | None = None,
    pool: dict[str, Any] | None = None,
    **top: Any,
) -> str:
    """One listener `web` before one pool `web`, whose endpoints are named and on loopback."""
    members = [{"name": name, "address": f"127.0.0.1:{member}"} for name, member in endpoints.items()]
    return configuration(
        listeners={"web": {"bind": f"127.0.0.1:{port}", "pool": "web"} | (listener or {})},
        pools={"web": {"endpoints": members} | (pool or {})},
        **top,
    )


class LbProcess:
    """A running lb. `folder` is its own; the configuration is `path`."""

    def __init__(
        self,
        text: str,
        folder: Path,
        *,
        user: str | None = None,
        nofile: int | None = None,
        stdout: int | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.folder, self.path = folder, folder / "lb.yaml"
        self.socket_path = folder / "run" / "admin.sock"
        self.write(text)
        if user is not None:
            shutil.chown(folder, user)
        words = [str(LB), "run", "-c", str(self.path)]
        outside = reachable.prefix(folder) if user is not None or "\nuser:" in text else []
        self.process = Process(
            "lb",
            words,
            folder,
            outside=outside,
            user=user,
            nofile=nofile,
            stdout=stdout,
            environment=environment,
        )
        self.pid = self.process.pid

    # ---- The file -----------------------------------------------------------------------------------

    def complete(self, text: str) -> str:
        """`text` and, below it, where this lb lives: so lines keep their numbers."""
        lives = {
            "runtime_dir": str(self.folder / "run"),
            "admin": {"bind": "off"},
            "log": {"format": "json", "level": "debug"},
        }
        own = [line.partition(":")[0] for line in text.splitlines()]
        return text + "".join(f"{k}: {json.dumps(v)}\n" for k, v in lives.items() if k not in own)

    def write(self, text: str) -> None:
        """In place: the file is truncated and written, as an editor may do it."""
        self.path.write_text(self.complete(text))

    def replace(self, text: str) -> None:
        """By rename: nobody ever sees half a file."""
        new = self.path.with_suffix(".new")
        new.write_text(self.complete(text))
        new.replace(self.path)

    # ---- Questions ----------------------------------------------------------------------------------

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """An HTTP request to the admin socket. Raises OSError when nobody answers."""
        connection = _UnixConnection(str(self.socket_path))
        try:
            words = None if body is None else json.dumps(body)
            connection.request(method, path, words, {"Content-Type": "application/json"} if words else {})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except http.client.HTTPException as error:
            raise ConnectionError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def ready(self) -> bool:
        return self.ask("GET", "/ready")[0] == 200

    def status(self) -> dict[str, Any]:
        code, body = self.ask("GET", "/api/v1/status")
        assert code == 200, body
        return json.loads(body)

    def metrics(self) -> Exposition:
        code, body = self.ask("GET", "/metrics")
        assert code == 200, body
        return Exposition(body)

    def endpoint(self, name: str, pool: str = "web") -> dict[str, Any]:
        """The status of one endpoint; empty when there is none of that name."""
        pools = {found["name"]: found for found in self.status()["pools"]}
        return next((one for one in pools[pool]["endpoints"] if one["name"] == name), {})

    def health(self, name: str, pool: str = "web") -> str:
        return self.endpoint(name, pool).get("health", "absent")

    def worker_pids(self) -> dict[int, int]:
        """Process ids by worker index, of those that live."""
        return {one["worker"]: one["pid"] for one in self.status()["workers"] if one["pid"]}

    def events(self, name: str | None = None) -> list[dict[str, Any]]:
        """What was written to stderr and is JSON, in order."""
        found = []
        for line in self.process.err().splitlines():
            if line.startswith("{") and line.endswith("}"):
                found.append(json.loads(line))
        return [event for event in found if name in (None, event.get("event"))]

    def access(self) -> list[dict[str, Any]]:
        """The access log so far; a line that is being written is left for the next time."""
        return [json.loads(line) for line in self.access_lines() if line.endswith("\n")]

    def whole_access(self, within_s: float = 5.0) -> list[dict[str, Any]]:
        """The access log once no session is open: the last line comes a moment after that."""

        def complete() -> bool:
            now = self.metrics()
            total = now.sum("lb_listener_sessions_total")
            return now.sum("lb_listener_sessions_open") == 0 and len(self.access_lines()) == total

        eventually(complete, within_s=within_s, reason="every session has ended and is logged")
        return self.access()

    def access_lines(self) -> list[str]:
        return self.process.out_path.read_text().splitlines(keepends=True)

    def session_line(self, client: tuple[str, int], within_s: float = 5.0) -> dict[str, Any]:
        """The one line of the session whose client has this address."""
        wanted = f"{client[0]}:{client[1]}"

        def found() -> list[dict[str, Any]]:
            return [line for line in self.access() if line["client"] == wanted]

        lines = eventually(found, within_s=within_s, reason=f"the session of {wanted} is logged")
        assert len(lines) == 1, lines
        return lines[0]

    # ---- Orders -------------------------------------------------------------------------------------

    def command(self, *words: str, within_s: float = COMMAND_WITHIN_S) -> subprocess.CompletedProcess[str]:
        """`lb WORDS`, which finds this lb by its socket."""
        return subprocess.run(
            [str(LB), *words],
            env=os.environ | {"LB_ADMIN_SOCKET": str(self.socket_path), "LB_CONFIG": str(self.path)},
            capture_output=True,
            text=True,
            timeout=within_s,
            cwd=ROOT,
            check=False,
        )

    def reload(self) -> dict[str, Any]:
        """Over the API. The answer, whether it was taken or not."""
        return json.loads(self.ask("POST", "/api/v1/reload")[1])

    def signal(self, number: signal.Signals) -> None:
        self.process.signal(number)

    def wait(self, within_s: float, reason: str) -> int:
        return self.process.wait(within_s, reason)


@contextmanager
def running_lb(
    text: str,
    folder: Path,
    *,
    user: str | None = None,
    nofile: int | None = None,
    stdout: int | None = None,
    environment: dict[str, str] | None = None,
    within_s: float = READY_WITHIN_S,
) -> Iterator[LbProcess]:
    """lb with this configuration, ready: every listener accepts. `user` runs the whole of it as that user."""
    lb = LbProcess(text, folder, user=user, nofile=nofile, stdout=stdout, environment=environment)

    def ready() -> bool:
        assert lb.process.alive, f"lb ended with {lb.process.popen.returncode} before it was ready"
        return answers(lb.ready) is True

    try:
        eventually(ready, within_s=within_s, reason="/ready says 200")
        yield lb
    except BaseException as error:
        error.add_note(lb.process.tail())
        raise
    finally:
        lb.process.end()


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("lb", timeout=ANSWER_WITHIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(self._path)
        except OSError:
            self.sock.close()
            raise
