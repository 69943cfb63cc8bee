"""What the file may say of a listener."""

from __future__ import annotations

from typing import Annotated

from lb.config import shorthand
from lb.config.leaf import Count, Duration, IpPort, Word
from lb.config.section import LONGEST, NAME, SESSIONS_MAX, SOME, Section, defaults, keys
from lb.model.address import PORT_MAX, Address
from lb.model.listener import Keepalive, Listener, TcpOptions, Timeouts

TIMEOUTS = defaults(Timeouts)
KEEPALIVE = defaults(Keepalive)
TCP_OPTIONS = defaults(TcpOptions)
LISTENER = defaults(Listener)


class TimeoutsSection(Section):
    later = keys("routing")

    idle: Annotated[float, Duration("10ms", LONGEST)] = TIMEOUTS.idle_s
    """Ends a session that moved no byte, either way, for this long."""
    half_close: Annotated[float, Duration("0s", LONGEST)] = TIMEOUTS.half_close_s
    """Takes the place of idle once one direction has ended; 0s ends the session with it."""
    reset_linger: Annotated[float, Duration("0s", "60s")] = TIMEOUTS.reset_linger_s
    """How long a reset waits until what came before it was acknowledged."""


class KeepaliveSection(Section):
    idle: Annotated[int, Duration("1s", "9h", whole=True)] = KEEPALIVE.idle_s
    """Silence before the first keepalive probe."""
    interval: Annotated[int, Duration("1s", "9h", whole=True)] = KEEPALIVE.interval_s
    """Time between two keepalive probes."""
    count: Annotated[int, Count(1, 127)] = KEEPALIVE.count
    """Probes without an answer after which the peer is gone."""


class TcpSection(Section):
    later = keys(
        "user_timeout fast_open defer_accept interface netns mark dscp mss congestion freebind transparent"
    )

    backlog: Annotated[int, Count(1, PORT_MAX)] = TCP_OPTIONS.backlog
    """Connections that may wait for a worker; the kernel caps it at net.core.somaxconn."""
    keepalive: Annotated[KeepaliveSection | None, shorthand.KEEPALIVE] = KeepaliveSection()
    """On both sides of a session; off: none."""


class ListenerSection(Section):
    later = keys(
        "split routes not_tls no_sni hello_too_long allow deny refuse_by accept_proxy sessions_max_per_source"
        " rate_max rate_max_per_source upload_max download_max dry_run session_age_max udp"
    )

    bind: Annotated[list[Annotated[Address, IpPort()]], SOME, shorthand.ONE]
    """Where clients come in: ADDRESS:PORT, or a list. Port 0: any free one, for tests and demos."""
    pool: Annotated[str, NAME]
    """The pool behind it."""
    protocol: Annotated[str, Word(("tcp",), later=("udp",))] = "tcp"
    """What is balanced."""
    sessions_max: Annotated[int, Count(0, SESSIONS_MAX)] = LISTENER.sessions_max
    """Most sessions at a time; 0: no limit of its own."""
    timeouts: TimeoutsSection = TimeoutsSection()
    """Deadlines of a session."""
    tcp: TcpSection = TcpSection()
    """Options of the sockets."""
