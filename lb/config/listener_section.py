"""What the file may say of a listener."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from lb.config import shorthand
from lb.config.addresses import Bind
from lb.config.leaf import Flag, Word
from lb.config.networks_section import AnyNetworks, SomeNetworks
from lb.config.numbers import Count, Duration, Size
from lb.config.section import LONGEST, NAME, SESSIONS_MAX, SOME, Section, defaults, keys
from lb.config.socket_section import TcpSection, UnixSection
from lb.model.address import SocketAddress
from lb.model.listener import Listener, RefuseBy, Timeouts

TIMEOUTS = defaults(Timeouts)
LISTENER = defaults(Listener)

RATE_MAX = 10_000_000
SESSIONS, RATE = Count(0, SESSIONS_MAX, "sessions"), Count(0, RATE_MAX, "sessions per second")
SPEED = Size("1TiB", "bytes per second")


class TimeoutsSection(Section):
    routing: Annotated[float, Duration("10ms", "1h")] = TIMEOUTS.routing_s
    """From accept until the pool is known: a PROXY header or a ClientHello must be complete by then."""
    idle: Annotated[float, Duration("10ms", LONGEST)] = TIMEOUTS.idle_s
    """Ends a session that moved no byte, either way, for this long."""
    half_close: Annotated[float, Duration("0s", LONGEST)] = TIMEOUTS.half_close_s
    """Takes the place of idle once one direction has ended; 0s ends the session with it."""
    reset_linger: Annotated[float, Duration("0s", "60s")] = TIMEOUTS.reset_linger_s
    """How long a reset waits until what came before it was acknowledged."""


class AcceptProxySection(Section):
    sources: SomeNetworks = Field(alias="from")
    """Whose connections begin with a PROXY header, of version 1 or 2: a list of networks, or {file: path}."""


class ListenerSection(Section):
    later = keys("split routes not_tls no_sni hello_too_long udp")

    bind: Annotated[list[Annotated[tuple[SocketAddress, ...], Bind()]], SOME, shorthand.ONE]
    """Where clients come in: ADDRESS:PORT, ADDRESS:FIRST-LAST, unix:/path, or a list. Port 0: any free one,
    for tests and demos."""
    pool: Annotated[str, NAME]
    """The pool behind it."""
    protocol: Annotated[str, Word(("tcp",), later=("udp",))] = "tcp"
    """What is balanced."""
    allow: SomeNetworks | None = None
    """Who may come in: a list of networks, or {file: path}; `unix:` is every peer on a unix socket; empty:
    everybody."""
    deny: AnyNetworks | None = []  # noqa: RUF012
    """Who may not, even if `allow` has them: a list of networks, or {file: path}."""
    refuse_by: Annotated[str, Word(tuple(way.value for way in RefuseBy))] = LISTENER.refuse_by.value
    """How a session ends that is refused: reset; close; silence: the client is told nothing. For that lb
    keeps CAP_NET_ADMIN; without it, whoever is on the same network is reset."""
    accept_proxy: AcceptProxySection | None = None
    """Who comes by way of another proxy and begins with a PROXY header that names the client. One from
    anybody else is refused; empty: none is expected."""
    sessions_max: Annotated[int, SESSIONS] = LISTENER.sessions_max
    """Most sessions at a time; 0: no limit of its own."""
    sessions_max_per_source: Annotated[int, SESSIONS] = LISTENER.sessions_max_per_source
    """Most sessions at a time from one IPv4 address or one /64 of IPv6; 0: no limit. Workers that accept at
    the same moment may pass it by one each, but for the first."""
    rate_max: Annotated[int, RATE] = LISTENER.rate_max
    """Most new sessions per second, over all workers; more of them wait in the backlog; 0: no limit."""
    rate_max_per_source: Annotated[int, RATE] = LISTENER.rate_max_per_source
    """Most new sessions per second from one IPv4 address or one /64 of IPv6; others are refused; 0: none."""
    upload_max: Annotated[int, SPEED] = LISTENER.upload_max
    """Most bytes per second from the client of a session; 0: no limit."""
    download_max: Annotated[int, SPEED] = LISTENER.download_max
    """Most bytes per second to the client of a session; 0: no limit."""
    dry_run: Annotated[bool, Flag()] = LISTENER.dry_run
    """Limits and lists of this listener count what they would refuse or keep waiting, and let all in."""
    timeouts: TimeoutsSection = TimeoutsSection()
    """Deadlines of a session."""
    session_age_max: Annotated[float, Duration("0s", LONGEST)] = LISTENER.session_age_max_s
    """A session ends at this age, or somewhat before, so that not all end at once; by a reset if it is amid a
    transfer. 0s: at none."""
    tcp: TcpSection = TcpSection()
    """Options of the sockets."""
    unix: UnixSection = UnixSection()
    """The files of the unix sockets in `bind`."""
