"""What `tcp:` of a listener says, as options of its listening sockets. Accepted ones inherit them.

    placing      interface, freebind, transparent: before bind(), for they say where a socket may be
    inherited    all others, at any time: who connects from then on gets them

A value that stands in the configuration is set; one that was taken out again is set back to the kernel's own.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from lb.model.listener import TcpOptions
from lb.shell.bind_problem import SocketRefused
from lb.shell.namespace import within

AS_THE_KERNEL = TcpOptions(keepalive=None)
DEFER_ACCEPT_S = 1  # as HAProxy and nginx: who says nothing by then is accepted like everybody else

# include/uapi/linux/in.h, in6.h
IP_FREEBIND, IPV6_FREEBIND = 15, 78
IP_TRANSPARENT, IPV6_TRANSPARENT = 19, 75

CONTROLS = Path("/proc/sys/net/ipv4/tcp_available_congestion_control")

# What the kernel asks for, and which key wants it.
RIGHTS = {
    "interface": "CAP_NET_RAW",
    "transparent": "CAP_NET_RAW or CAP_NET_ADMIN",
    "mark": "CAP_NET_ADMIN",
    "congestion": "CAP_NET_ADMIN, or that it is in net.ipv4.tcp_allowed_congestion_control",
}

Setting = tuple[str, int, int, int | bytes]  # key, level, option, value


def place(sock: socket.socket, options: TcpOptions) -> None:
    """Before bind(). Raises SocketRefused."""
    if options.interface is not None:
        name = options.interface.encode()
        set_one(sock, ("interface", socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name), options)
    if options.freebind:
        level, option = of_family(sock, (IP_FREEBIND, IPV6_FREEBIND))
        set_one(sock, ("freebind", level, option, 1), options)
    if options.transparent:
        level, option = of_family(sock, (IP_TRANSPARENT, IPV6_TRANSPARENT))
        set_one(sock, ("transparent", level, option, 1), options)


def set_inherited(sock: socket.socket, options: TcpOptions, before: TcpOptions = AS_THE_KERNEL) -> None:
    """Whatever differs from `before`, which is what it has now. Raises SocketRefused."""
    now = set(settings(sock, before))
    for setting in settings(sock, options):
        if setting not in now:
            set_one(sock, setting, options)


def settings(sock: socket.socket, options: TcpOptions) -> Iterator[Setting]:
    """In the order in which they are to be set."""
    yield "transparent", *of_family(sock, (IP_TRANSPARENT, IPV6_TRANSPARENT)), int(options.transparent)
    yield "mark", socket.SOL_SOCKET, socket.SO_MARK, options.mark or 0
    level, option = of_family(sock, (socket.IP_TOS, socket.IPV6_TCLASS))
    yield "dscp", level, option, (options.dscp or 0) << 2
    yield "mss", socket.IPPROTO_TCP, socket.TCP_MAXSEG, options.mss or 0
    yield "congestion", socket.IPPROTO_TCP, socket.TCP_CONGESTION, (options.congestion or "").encode()
    defer_s = DEFER_ACCEPT_S if options.defer_accept else 0
    yield "defer_accept", socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, defer_s
    queue = options.backlog if options.fast_open else 0
    yield "fast_open", socket.IPPROTO_TCP, socket.TCP_FASTOPEN, queue
    keepalive = options.keepalive
    yield "keepalive", socket.SOL_SOCKET, socket.SO_KEEPALIVE, int(keepalive is not None)
    if keepalive is not None:
        yield "keepalive", socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, keepalive.idle_s
        yield "keepalive", socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, keepalive.interval_s
        yield "keepalive", socket.IPPROTO_TCP, socket.TCP_KEEPCNT, keepalive.count


def of_family(sock: socket.socket, options: tuple[int, int]) -> tuple[int, int]:
    """Level and number of an option that the two families have each for themselves."""
    if sock.family == socket.AF_INET6:
        return socket.IPPROTO_IPV6, options[1]
    return socket.IPPROTO_IP, options[0]


def set_one(sock: socket.socket, setting: Setting, options: TcpOptions) -> None:
    key, level, option, value = setting
    try:
        if value == b"":  # no congestion control of its own: that of a new socket
            value = default_congestion(sock.family, options.netns)
        sock.setsockopt(level, option, value)
    except OSError as error:
        raise refused(key, error, options) from error


def default_congestion(family: int, netns: str | None) -> bytes:
    with within(netns, lambda: socket.socket(family)) as fresh:
        return fresh.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0")


def refused(key: str, error: OSError, options: TcpOptions) -> SocketRefused:
    reason, hint = os.strerror(error.errno).lower() if error.errno else str(error), None
    if error.errno == errno.EPERM:
        right = RIGHTS.get(key, "a right that lb has not")
        hint = f"it takes {right}; lb keeps that for `user` if what it starts with needs it: restart it"
    elif key == "interface" and error.errno == errno.ENODEV:
        reason, hint = f"there is no interface {options.interface!r}", "see `ip link`"
    elif key == "congestion" and error.errno == errno.ENOENT:
        reason = f"this kernel has no {options.congestion!r}"
        hint = f"it has {available()}; `modprobe tcp_{options.congestion}` may add it"
    return SocketRefused(f"tcp.{key}: {reason}", hint)


def available() -> str:
    try:
        return ", ".join(CONTROLS.read_text(encoding="ascii").split())
    except OSError:
        return "others"
