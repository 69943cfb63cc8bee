"""The test's side of failing_calls.c: compiled into a folder, loaded before libc, ordered from within.

`Compiled.environment` starts a Python in which the calls can be ordered; FailingCalls is used in there.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
from pathlib import Path
from typing import NamedTuple

from tests.support.source import ROOT

SOURCE = ROOT / "tests" / "support" / "failing_calls.c"
EDGE, SHORT = "edge", "short"
HOWS = {EDGE: -1, SHORT: -2}
CALLS = (
    "", "accept4", "bind", "calloc", "close", "connect", "epoll_create1", "epoll_ctl", "epoll_wait", "fcntl",
    "fstat", "getpeername", "getsockname", "getsockopt", "ioctl", "malloc", "mmap", "pipe2", "poll", "recv",
    "send", "setsockopt", "shutdown", "socket", "splice", "timerfd_create", "timerfd_settime",
)  # fmt: skip


def compiled(folder: Path) -> Path:
    library = folder / "failing_calls.so"
    words = ["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-fvisibility=hidden", "-o", str(library)]
    unwatched = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}  # gcc is not ours
    subprocess.run([*words, str(SOURCE), "-ldl"], check=True, env=unwatched)
    return library


def environment(library: Path) -> dict[str, str]:
    """For a child. A sanitizer that is there already stays behind: it must not be between lb and these."""
    before = os.environ.get("LD_PRELOAD", "")
    sanitized = {"ASAN_OPTIONS": os.environ.get("ASAN_OPTIONS", "") + ":verify_asan_link_order=0"}
    return os.environ | {"LD_PRELOAD": f"{library} {before}".strip()} | (sanitized if before else {})


class Seen(NamedTuple):
    """The call that failed; ports 0: not a connection's."""

    applied: bool
    fd: int
    local_port: int
    peer_port: int


class FailingCalls:
    """Orders to the library that this process was started with. Raises RuntimeError without it."""

    def __init__(self) -> None:
        try:
            self._library = ctypes.CDLL(None)
            self._library.lb_clock_advance.argtypes = [ctypes.c_int64]
            self._library.lb_fault_count.restype = ctypes.c_long
        except AttributeError:
            raise RuntimeError("this process was started without failing_calls.so") from None
        self.arm("", 0, EDGE)
        if not self._library.lb_fault_ranges():
            raise RuntimeError("the extension is not loaded: its calls cannot be told from others'")

    def arm(self, call: str, number: int, how: str) -> None:
        """The call with this number, from 1, fails; 0: none does. `how`: an errno's name, EDGE or SHORT."""
        way = HOWS[how] if how in HOWS else getattr(errno, how)
        self._library.lb_fault_arm(CALLS.index(call), number, way)

    def disarm(self) -> None:
        self._library.lb_fault_disarm()

    def counts(self) -> dict[str, int]:
        """How often each call was made since arm()."""
        return {name: self._library.lb_fault_count(index) for index, name in enumerate(CALLS) if name}

    def seen(self) -> Seen:
        found = (ctypes.c_int * 4)()
        self._library.lb_fault_seen(ctypes.byref(found))
        return Seen(bool(found[0]), *found[1:])

    def advance_ms(self, ms: int) -> None:
        """The engine's clock jumps; only for it."""
        self._library.lb_clock_advance(ms * 1_000_000)
