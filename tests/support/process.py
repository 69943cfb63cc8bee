"""A started program: a process group of its own, its output in files, and never left behind.

Its `family` is whoever lives in its session, or carries its mark in the environment, which descendants
inherit: so those whose parent was killed are found too. (Either alone is not enough: a daemon leaves the
session, and nginx writes its title over its environment.) `end` kills the whole family. When the tests
themselves are killed hard, the kernel ends what they started directly (parent-death signal).
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.source import ROOT
from tests.support.waiting import eventually

MARK = "LB_TEST_MARK"
END_WITHIN_S = 10.0
TAIL_BYTES = 6000
WHERE_TO_GET = {
    "nginx": "nginx-light",
    "nc.openbsd": "netcat-openbsd",
    "ss": "iproute2",
    "pgrep": "procps",
    "dnsmasq": "dnsmasq-base",
    "mariadbd": "mariadb-server",
    "postgres": "postgresql",
}


def needs(*programs: str) -> None:
    """Skips the test, saying why, when a program that it drives is not installed."""
    for program in programs:
        if find(program) is None:
            package = WHERE_TO_GET.get(program, program)
            pytest.skip(f"{program} is not installed; apt-get install {package}")


def find(program: str) -> str | None:
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")


class Process:
    """`user` runs it as that user, `nofile` bounds its descriptors (soft and hard); `outside` are words that
    stand before the command and are still run as we are."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        folder: Path,
        *,
        outside: Sequence[str] = (),
        user: str | None = None,
        nofile: int | None = None,
        environment: dict[str, str] | None = None,
        stdout: int | None = None,
    ) -> None:
        self.name = name
        self.mark = f"{name}-{secrets.token_hex(8)}"
        self.out_path, self.err_path = folder / f"{name}.out", folder / f"{name}.err"
        self._read_bytes = self.out_path.stat().st_size if self.out_path.exists() else 0
        with self.out_path.open("ab") as out, self.err_path.open("ab") as err:
            self.popen = subprocess.Popen(
                [*outside, *_prefix(user, nofile), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=out if stdout is None else stdout,
                stderr=err,
                cwd=ROOT,
                env=os.environ | {MARK: self.mark, "PYTHONUNBUFFERED": "1"} | (environment or {}),
                start_new_session=True,
            )
        self.pid = self.popen.pid

    @property
    def alive(self) -> bool:
        return self.popen.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def signal_group(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def wait(self, within_s: float, reason: str) -> int:
        """The exit code, which is negative for a signal."""
        try:
            return self.popen.wait(within_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} still runs after {within_s:g} s: {reason}") from None

    def next_line(self, within_s: float) -> Any:
        """The next line of JSON that it writes to stdout."""
        line = eventually(
            self._unread_line, within_s=within_s, reason=f"{self.name} writes a line\n{self.tail()}"
        )
        self._read_bytes += len(line)
        return json.loads(line)

    def _unread_line(self) -> bytes:
        alive = self.alive  # asked first: its last words may come just before its end
        with self.out_path.open("rb") as out:
            out.seek(self._read_bytes)
            line = out.readline()
        if not line.endswith(b"\n"):
            assert alive, f"{self.name} ended with {self.popen.returncode}\n{self.tail()}"
            return b""
        return line

    def err(self) -> str:
        return self.err_path.read_text(errors="replace")

    def tail(self) -> str:
        """The end of what it wrote, for a report."""
        last = self.err_path.read_bytes()[-TAIL_BYTES:].decode(errors="replace")
        return f"--- the end of {self.err_path} ---\n{last}"

    def family(self) -> list[int]:
        """Everything that lives and was started by it, directly or not; itself included."""
        mark = f"{MARK}={self.mark}".encode()
        return [pid for pid in living() if session_of(pid) == self.pid or mark in environment_of(pid)]

    def end(self) -> None:
        """Kills the family. It may grow while it is being killed, so until none is left."""

        def none_left() -> bool:
            family = self.family()
            for pid in family:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return not family and self.popen.poll() is not None

        if self.alive:  # a program that replaced its environment is found in its group at least
            self.signal_group(signal.SIGKILL)
        eventually(none_left, within_s=END_WITHIN_S, reason=f"the family of {self.name} is dead")


def living() -> list[int]:
    """Every process that is not a zombie."""
    pids = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    return [pid for pid in pids if _stat(pid)[0] not in "ZX"]


def session_of(pid: int) -> int:
    return int(_stat(pid)[3])


def environment_of(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []  # gone, or another user's


def _stat(pid: int) -> list[str]:
    """state, parent, group, session; of a process that is gone: dead, and nobody's."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:4]
    except OSError:
        return ["X", "0", "0", "0"]


def _prefix(user: str | None, nofile: int | None) -> list[str]:
    words = []
    if nofile is not None:
        words += ["prlimit", f"--nofile={nofile}:{nofile}", "--"]
    words += ["setpriv", "--pdeathsig", "KILL"]
    if user is not None:
        words += [f"--reuid={user}", f"--regid={_group_of(user)}", "--clear-groups"]
    return [*words, "--"]


def _group_of(user: str) -> str:
    import pwd

    return str(pwd.getpwnam(user).pw_gid)
