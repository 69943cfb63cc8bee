"""What the harness knows of a proxy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.process import ROOT

BACKLOG = 4096
SESSIONS_MAX = 9200  # 9000 are held; 20 000 descriptors carry them
CONNECT_TIMEOUT_MS = 1200
IDLE_TIMEOUT_S = 600


@dataclass(frozen=True)
class Route:
    """A listener on 127.0.0.1:`port` and its one endpoint on 127.0.0.1:`endpoint_port`."""

    name: str
    port: int
    endpoint_port: int


@dataclass(frozen=True)
class Setup:
    """What a proxy is to do. Its files go into `folder`; `logged` means a line of JSON per session."""

    routes: Sequence[Route]
    folder: Path
    logged: bool = False
    workers: int = 1

    @property
    def access_log(self) -> Path:
        return self.folder / "access.log"


@dataclass(frozen=True)
class Peer:
    """One entry of the comparison.

    `command` writes the configuration and returns the words that start the proxy in the foreground, in the
    folder `root`; without one, the client goes to the endpoint itself. `version()` is one line, or None
    when it is not installed. `relays` stands in the command line or the thread's name of what carries
    traffic (empty: in all). `only` names the workloads in which it differs from another entry (empty: all);
    with `only_logged` it differs when there is an access log. `log_name` is that one's file; None where
    there is none.
    """

    name: str
    command: Callable[[Setup], list[str]] | None
    version: Callable[[], str | None]
    processes_min: int = 1
    relays: str = ""
    only: tuple[str, ...] = ()
    only_logged: bool = False
    log_name: str | None = "access.log"
    root: Path = ROOT
