"""Where clients come in: addresses, the pool behind them, and the deadlines of their sessions."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from lb.model.address import SocketAddress
from lb.model.networks import Networks


@dataclass(frozen=True, slots=True)
class Timeouts:
    """`routing_s`: from accept until the pool is known, absolute: a PROXY header or a ClientHello that comes
    in single bytes does not extend it. `half_close_s` replaces `idle_s` once one direction has ended; 0 ends
    the session with it."""

    routing_s: float = 5.0
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
    """`keepalive` None: off. It and `user_timeout_s` hold for both sides of a session; the rest are options
    of the listening sockets, which accepted ones inherit. None or False: left as the kernel has it.

    `user_timeout_s`: what was sent and is not acknowledged for so long means that the peer has vanished; a
    peer that lives and does not read is not one (0: off). `netns`: the name of a network namespace, or a
    path.
    """

    backlog: int = 4096
    keepalive: Keepalive | None = Keepalive()
    user_timeout_s: float = 30.0
    fast_open: bool = False
    defer_accept: bool = False
    interface: str | None = None
    netns: str | None = None
    mark: int | None = None
    dscp: int | None = None
    mss: int | None = None
    congestion: str | None = None
    freebind: bool = False
    transparent: bool = False


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """Of the files of a listener's unix sockets. None: as the process makes them."""

    mode: int | None = None
    owner: str | None = None
    group: str | None = None


class RefuseBy(Enum):
    """How a session ends that lb refuses. SILENCE: the client is told nothing."""

    RESET = "reset"
    CLOSE = "close"
    SILENCE = "silence"


@dataclass(frozen=True, slots=True)
class Listener:
    """`sessions_max`, `rate_max` and the like: 0 is no limit. Rates are new sessions per second; a source is
    an IPv4 address or the /64 of an IPv6 one. `upload_max`, `download_max`: bytes per second and session.

    A session is served if its client is in `allow` (None: everybody is) and not in `deny`. `accept_proxy`:
    whose connections must begin with a PROXY header; one from anybody else is refused. `dry_run`: limits and
    lists count what they would refuse, and refuse nothing.
    """

    name: str
    binds: tuple[SocketAddress, ...]
    pool: str
    sessions_max: int = 0
    timeouts: Timeouts = Timeouts()
    tcp: TcpOptions = TcpOptions()
    allow: Networks | None = None
    deny: Networks | None = None
    refuse_by: RefuseBy = RefuseBy.RESET
    accept_proxy: Networks | None = None
    sessions_max_per_source: int = 0
    rate_max: int = 0
    rate_max_per_source: int = 0
    upload_max: int = 0
    download_max: int = 0
    dry_run: bool = False
    session_age_max_s: float = 0.0
    unix: UnixSocket = UnixSocket()
