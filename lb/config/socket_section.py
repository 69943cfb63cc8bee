"""What the file may say of the sockets of a listener."""

from __future__ import annotations

from typing import Annotated

from lb.config import shorthand
from lb.config.leaf import Either, Flag, Text
from lb.config.numbers import Count, Duration, FileMode
from lb.config.section import GROUP, LONGEST, USER, Section, defaults
from lb.model.address import PORT_MAX
from lb.model.listener import Keepalive, TcpOptions, UnixSocket

KEEPALIVE = defaults(Keepalive)
TCP_OPTIONS = defaults(TcpOptions)
UNIX_SOCKET = defaults(UnixSocket)

INTERFACE = Text("a network interface", r"[^\s/:]{1,15}")
NETNS = Text("a network namespace (its name, or an absolute path)", r"[A-Za-z0-9_.-]+|/[^\x00-\x1f]+", 4095)
CONGESTION = Text("a congestion control", "[a-z0-9_-]{1,15}")

MARK_MAX = 2**32 - 1
DSCP_MAX = 63  # six bits
MSS_MIN, MSS_MAX = 88, 32767  # the kernel's TCP_MIN_MSS and MAX_TCP_WINDOW


class KeepaliveSection(Section):
    idle: Annotated[int, Duration("1s", "9h", whole=True)] = KEEPALIVE.idle_s
    """Silence before the first keepalive probe."""
    interval: Annotated[int, Duration("1s", "9h", whole=True)] = KEEPALIVE.interval_s
    """Time between two keepalive probes."""
    count: Annotated[int, Count(1, 127, "probes")] = KEEPALIVE.count
    """Probes without an answer after which the peer is gone."""


class TcpSection(Section):
    backlog: Annotated[int, Count(1, PORT_MAX, "connections")] = TCP_OPTIONS.backlog
    """Connections that may wait for a worker; the kernel caps it at net.core.somaxconn."""
    keepalive: Annotated[KeepaliveSection | None, shorthand.OFF] = KeepaliveSection()
    """On both sides of a session; off: none."""
    user_timeout: Annotated[float, Duration("0s", LONGEST)] = TCP_OPTIONS.user_timeout_s
    """On both sides: a peer that acknowledges nothing of what was sent for so long has vanished; 0s: off. One
    that lives and does not read is not one."""
    fast_open: Annotated[bool, Flag()] = TCP_OPTIONS.fast_open
    """Data may come with the SYN (TCP Fast Open); net.ipv4.tcp_fastopen must allow it."""
    defer_accept: Annotated[bool, Flag()] = TCP_OPTIONS.defer_accept
    """Accept a connection once its first data is there; not where the endpoint is to speak first."""
    interface: Annotated[str | None, Either(None, INTERFACE)] = TCP_OPTIONS.interface
    """Accept only what comes in by this network interface (SO_BINDTODEVICE)."""
    netns: Annotated[str | None, Either(None, NETNS)] = TCP_OPTIONS.netns
    """The network namespace to listen in: a name as in /run/netns, or a path."""
    mark: Annotated[int | None, Either(None, Count(0, MARK_MAX))] = TCP_OPTIONS.mark
    """The mark of packets to clients, for routing and firewalls (SO_MARK)."""
    dscp: Annotated[int | None, Either(None, Count(0, DSCP_MAX))] = TCP_OPTIONS.dscp
    """The DSCP of packets to clients."""
    mss: Annotated[int | None, Either(None, Count(MSS_MIN, MSS_MAX, "bytes"))] = TCP_OPTIONS.mss
    """The largest segment to agree on with clients."""
    congestion: Annotated[str | None, Either(None, CONGESTION)] = TCP_OPTIONS.congestion
    """The congestion control towards clients, for example bbr; the kernel must have it."""
    freebind: Annotated[bool, Flag()] = TCP_OPTIONS.freebind
    """Addresses may be bound before this machine has them."""
    transparent: Annotated[bool, Flag()] = TCP_OPTIONS.transparent
    """Connections to any address that are routed here are accepted (IP_TRANSPARENT)."""


class UnixSection(Section):
    mode: Annotated[int | None, Either(None, FileMode())] = UNIX_SOCKET.mode
    """Permissions, in octal: "0660"; empty: what the umask leaves."""
    owner: Annotated[str | None, Either(None, USER)] = UNIX_SOCKET.owner
    """The user it belongs to, by name or number; empty: who lb runs as."""
    group: Annotated[str | None, Either(None, GROUP)] = UNIX_SOCKET.group
    """The group it belongs to, by name or number; empty: that of lb."""
