"""Signals: blocked from the first moment, unblocked once somebody handles them.

A signal that comes while lb still imports would end it by default: a SIGHUP of an eager service manager must
not. HUP reloads; TERM and INT drain, and stop at once when they come again; USR1 opens the access log anew.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

RELOAD = signal.SIGHUP
STOP = (signal.SIGTERM, signal.SIGINT)
REOPEN = signal.SIGUSR1
OURS = frozenset({RELOAD, *STOP, REOPEN})


def block() -> None:
    """The first thing `lb run` does. Threads and children inherit it; each child unblocks for itself."""
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # its default, too, would end us
    signal.pthread_sigmask(signal.SIG_BLOCK, OURS)


def handle(
    loop: asyncio.AbstractEventLoop,
    *,
    on_reload: Callable[[], None],
    on_stop: Callable[[], None],
    on_reopen: Callable[[], None],
) -> None:
    """From here on signals arrive, those that waited first."""
    loop.add_signal_handler(RELOAD, on_reload)
    for number in STOP:
        loop.add_signal_handler(number, on_stop)
    loop.add_signal_handler(REOPEN, on_reopen)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, OURS)
