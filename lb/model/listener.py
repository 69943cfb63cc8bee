"""Where clients come in: addresses, the pool behind them, and the deadlines of their sessions."""

from __future__ import annotations

from dataclasses import dataclass

from lb.model.address import Address


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`half_close_s` replaces `idle_s` once one direction has ended; 0 ends the session with it."""

    idle_s: float = 600.0
    half_close_s: float = 60.0
    reset_linger_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Keepalive:
    """A vanished peer is noticed after `idle_s` + `interval_s` * `count` at most. Many short intervals rather
    than few long ones: of thousands of probes at once the kernel loses most, and an answer to any will do."""

    idle_s: int = 30
    interval_s: int = 3
    count: int = 10


@dataclass(frozen=True, slots=True)
class TcpOptions:
    """`keepalive` None: off. It is set on both sides of a session."""

    backlog: int = 4096
    keepalive: Keepalive | None = Keepalive()


@dataclass(frozen=True, slots=True)
class Listener:
    """`sessions_max` 0: no limit of its own."""

    name: str
    binds: tuple[Address, ...]
    pool: str
    sessions_max: int = 0
    timeouts: Timeouts = Timeouts()
    tcp: TcpOptions = TcpOptions()
