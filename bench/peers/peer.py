"""What the harness knows of a proxy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

BACKLOG = 4096
SESSIONS_MAX = 7000  # 4000 are held; with splice HAProxy wants 2.5 descriptors for each, of 20 000
CONNECT_TIMEOUT_MS = 1200
IDLE_TIMEOUT_S = 600


@dataclass(frozen=True)
class Route:
    """A listener on 127.0.0.1:`port` and its one endpoint on 127.0.0.1:`endpoint_port`."""

    name: str
    port: int
    endpoint_port: int


@dataclass(frozen=True)
class Peer:
    """One entry of the comparison.

    `command(routes, folder)` writes the configuration into `folder` and returns the words that start the
    proxy in the foreground; without one, the client goes to the endpoint itself. `version()` is one line, or
    None when it is not installed. `only` names the scenarios in which it differs from another entry (empty:
    all).
    """

    name: str
    command: Callable[[Sequence[Route], Path], list[str]] | None
    version: Callable[[], str | None]
    processes_min: int = 1
    only: tuple[str, ...] = ()
