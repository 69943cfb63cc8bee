"""Dropping root for good, and keeping the few rights that later binds need: see `capabilities_of`.

    what                            why
    paths, sockets change owner     a socket joins a SO_REUSEPORT group of its own owner only; and a unix
                                    socket is made and removed in a folder that the user may write
    groups, group id, user id       in this order: each step needs the rights that the next gives up
    keep, set, raise a capability   setuid() clears all but for PR_SET_KEEPCAPS, and exec() all but ambient
                                    ones: a worker, or lb itself after an upgrade, still has it

Capabilities are a thread's. Call this in the main thread, which binds and spawns, before any other starts.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lb.model.config import Config
from lb.model.listener import RefuseBy

ALLOWED_CONTROLS = Path("/proc/sys/net/ipv4/tcp_allowed_congestion_control")

CAP_NET_BIND_SERVICE = 10
CAP_NET_ADMIN = 12
CAP_NET_RAW = 13

# include/uapi/linux/prctl.h, capability.h
PR_SET_KEEPCAPS = 8
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
CAPABILITY_VERSION_3 = 0x20080522

libc = ctypes.CDLL(None, use_errno=True)


class PrivilegeError(Exception):
    """lb is not to go on as what it is now. The text is for the operator."""


@dataclass(frozen=True, slots=True)
class Identity:
    user_id: int
    group_id: int


class CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class CapabilitySets(ctypes.Structure):
    """32 capabilities, a bit each; two of these in a row cover all."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def identity(user: str) -> Identity:
    """A user by name. Raises PrivilegeError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise PrivilegeError(f"user: there is no user {user!r} on this machine") from None
    return Identity(entry.pw_uid, entry.pw_gid)


def capabilities_of(config: Config) -> frozenset[int]:
    """What a reload of this configuration may have to do again.

    Not CAP_SYS_ADMIN, to enter a network namespace: it is nearly root. Those entered at the start are kept
    instead (lb/shell/namespace.py).
    """
    wanted = {CAP_NET_BIND_SERVICE}
    for listener in config.listeners:
        if listener.tcp.transparent or listener.tcp.interface is not None:
            wanted.add(CAP_NET_RAW)  # for an interface: before Linux 5.7
        if listener.tcp.mark is not None or listener.tcp.congestion not in allowed_to_all():
            wanted.add(CAP_NET_ADMIN)  # for a mark, CAP_NET_RAW does since Linux 5.17
        if listener.refuse_by is RefuseBy.SILENCE:
            wanted.add(CAP_NET_ADMIN)  # a socket is closed without a packet in TCP_REPAIR alone
    return frozenset(wanted)


def allowed_to_all() -> tuple[str | None, ...]:
    """The congestion controls that take no capability; None is the kernel's own choice."""
    try:
        return None, *ALLOWED_CONTROLS.read_text(encoding="ascii").split()
    except OSError:
        return (None,)


def drop_privileges(
    user: str,
    *,
    paths: Iterable[Path] = (),
    sockets: Iterable[socket.socket] = (),
    keep: Iterable[int] = (CAP_NET_BIND_SERVICE,),
) -> Identity:
    """Become `user`, for good, with what there is of the capabilities in `keep`. Without root it is an error,
    unless that is who runs already."""
    wanted = identity(user)
    if os.geteuid() != 0:
        if os.geteuid() == wanted.user_id:
            return wanted
        running = pwd.getpwuid(os.geteuid()).pw_name
        raise PrivilegeError(f"user: only root can become {user!r}; lb was started as {running!r}")
    owned: list[Path | int] = [*paths, *(sock.fileno() for sock in sockets)]
    for one in owned:
        give(one, user, wanted)
    kept = [capability for capability in keep if has_capability(capability)]
    prctl(PR_SET_KEEPCAPS, 1)
    os.initgroups(user, wanted.group_id)
    os.setresgid(wanted.group_id, wanted.group_id, wanted.group_id)
    os.setresuid(wanted.user_id, wanted.user_id, wanted.user_id)
    keep_only(kept)
    prctl(PR_SET_KEEPCAPS, 0)
    return wanted


def give(owned: Path | int, user: str, to: Identity) -> None:
    """A path, or an open descriptor."""
    try:
        os.chown(owned, to.user_id, to.group_id)
    except OSError as error:
        what = f"descriptor {owned}" if isinstance(owned, int) else owned
        raise PrivilegeError(f"user: cannot give {what} to {user!r}: {error.strerror}") from error


def has_capability(capability: int) -> bool:
    """A container may give root fewer than all of them."""
    return bool(capability_sets()[capability // 32].effective & 1 << capability % 32)


def capability_sets() -> ctypes.Array[CapabilitySets]:
    sets = (CapabilitySets * 2)()
    check(libc.capget(ctypes.byref(CapabilityHeader(CAPABILITY_VERSION_3, 0)), sets), "capget")
    return sets


def keep_only(capabilities: Sequence[int]) -> None:
    """Give up every other one; an ambient one must be permitted and inheritable."""
    sets = (CapabilitySets * 2)()
    for half in (0, 1):
        bits = sum(1 << capability % 32 for capability in capabilities if capability // 32 == half)
        sets[half] = CapabilitySets(bits, bits, bits)
    check(libc.capset(ctypes.byref(CapabilityHeader(CAPABILITY_VERSION_3, 0)), sets), "capset")
    for capability in capabilities:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    check(libc.prctl(option, *words), f"prctl({option})")


def check(result: int, call: str) -> None:
    if result == -1:
        raise PrivilegeError(f"user: {call} failed: {os.strerror(ctypes.get_errno())}")
