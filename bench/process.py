"""Child processes of a measurement: each is pinned, followed with its whole tree, and always ended.

Invariants: whoever is started inside `children()` is dead when it is left, by whatever way; orphans of a
child come to us (child subreaper) and end too; when this process is killed hard, the kernel ends its direct
children (parent-death signal). Every wait has a deadline and says what it waited for.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PROXY_CPU = 0
LOAD_CPU = 1
PROXY_OUTPUT = "proxy.log"  # what a proxy writes to standard output and error
DESCRIPTORS_WANTED = 65536
TERM_TIMEOUT_S = 3.0
KILL_TIMEOUT_S = 5.0
READY_TIMEOUT_S = 15.0
ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM)

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


class Failed(Exception):
    """A child did not do in time what it was started for; the message has what it said last."""


class Child:
    """One started program; its stderr (and stdout, unless it is read) goes to `log_path`."""

    def __init__(
        self, name: str, arguments: Sequence[str], cpu: int, folder: Path, *, talk: bool, cwd: Path
    ) -> None:
        self.name, self.log_path = name, folder / f"{name}.log"

        def prepare() -> None:
            os.sched_setaffinity(0, {cpu})
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE if talk else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talk else log,
                stderr=log,
                cwd=cwd,
                preexec_fn=prepare,
                start_new_session=True,
            )
        self.pid = self.process.pid
        self._unread = b""

    def line(self, timeout_s: float) -> dict[str, Any]:
        """The next line of JSON that it prints."""
        deadline_s = time.monotonic() + timeout_s
        stream = self.process.stdout
        assert stream is not None
        while b"\n" not in self._unread:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0 or not select.select([stream], [], [], left_s)[0]:
                raise self.failed(f"nothing within {timeout_s:.0f} s")
            chunk = os.read(stream.fileno(), 65536)
            if not chunk:
                raise self.failed("ended")
            self._unread += chunk
        line, self._unread = self._unread.split(b"\n", 1)
        return json.loads(line)

    def failed(self, what: str) -> Failed:
        said = self.log_path.read_text(errors="replace").strip()[-1500:]
        return Failed(f"{self.name}: {what}\n{said}".strip())

    def tell(self, line: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def tell_end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()


class Children:
    """The programs of one measurement, and the ways to start them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._all: list[Child] = []

    def start(
        self, name: str, arguments: Sequence[str], cpu: int, *, talk: bool = False, cwd: Path = ROOT
    ) -> Child:
        child = Child(name, arguments, cpu, self.folder, talk=talk, cwd=cwd)
        self._all.append(child)
        return child

    def load(self, command: str, *arguments: str, cpu: int = LOAD_CPU, name: str | None = None) -> Child:
        """A load program (`python -m bench.load`), whose lines are read."""
        words = [sys.executable, "-m", "bench.load", command, *arguments]
        return self.start(name or command, words, cpu, talk=True)

    def endpoint(self, mode: str, *arguments: str) -> int:
        """Starts an endpoint on a free port, which is returned."""
        child = self.load("endpoint", "--mode", mode, *arguments, name=f"endpoint-{mode}")
        return int(child.line(READY_TIMEOUT_S)["port"])

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._all]

    def end(self) -> None:
        """SIGTERM to each, then SIGKILL to whatever still lives below us, orphans and respawned included."""
        for child in self._all:
            with suppress(ProcessLookupError):
                child.process.terminate()
        deadline_s = time.monotonic() + TERM_TIMEOUT_S
        for child in self._all:
            with suppress(subprocess.TimeoutExpired):
                child.process.wait(max(deadline_s - time.monotonic(), 0.01))
        _kill_descendants()
        for child in self._all:
            child.process.poll()
            for stream in (child.process.stdin, child.process.stdout):
                if stream is not None:
                    stream.close()


@contextmanager
def children(folder: Path) -> Iterator[Children]:
    started = Children(folder)
    try:
        yield started
    finally:
        # A second Ctrl-C must not leave half of them behind; the ending is bounded in time.
        before = [signal.signal(number, signal.SIG_IGN) for number in ENDING_SIGNALS]
        started.end()
        for number, handler in zip(ENDING_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def prepare_machine() -> None:
    """This process reaps orphans, gives children enough descriptors, and leaves CPU 0 to the proxy."""
    if (os.cpu_count() or 1) < 2:
        raise SystemExit("bench: two CPUs are needed, one for the proxy and one for the load")
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limits in ((DESCRIPTORS_WANTED, max(hard, DESCRIPTORS_WANTED)), (hard, hard)):
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
            break
    os.sched_setaffinity(0, {LOAD_CPU})
    # Ctrl-C and SIGTERM both unwind through the `finally` of children(), also where a shell ignored SIGINT.
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.default_int_handler)


def tree(pid: int) -> list[int]:
    """`pid` and all its descendants that live, parents first."""
    by_parent: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                by_parent.setdefault(parent, []).append(int(entry.name))
    found = [pid] if Path(f"/proc/{pid}").exists() else []
    for parent in found:
        found += sorted(by_parent.get(parent, []))
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_accepting(child: Child, port: int, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Waits until a connection to 127.0.0.1:port is accepted."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        if child.process.poll() is not None:
            raise child.failed(f"ended with {child.process.returncode} before it accepted")
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise child.failed(f"does not accept on port {port} within {timeout_s:.0f} s")


def _kill_descendants() -> None:
    """Everything below this process was started by it; what ended is reaped."""
    deadline_s = time.monotonic() + KILL_TIMEOUT_S
    while (left := tree(os.getpid())[1:]) and time.monotonic() < deadline_s:
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)
