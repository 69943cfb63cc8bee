"""Dropping root for good, and keeping the one right that later work needs: to bind ports below 1024.

    what                            why
    folders, sockets change owner   a socket joins a SO_REUSEPORT group of its own owner only; and a unix
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
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CAP_NET_BIND_SERVICE = 10

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


def drop_privileges(
    user: str, *, folders: Iterable[Path] = (), sockets: Iterable[socket.socket] = ()
) -> Identity:
    """Become `user`, for good. Without root it is an error, unless that is who runs already."""
    wanted = identity(user)
    if os.geteuid() != 0:
        if os.geteuid() == wanted.user_id:
            return wanted
        running = pwd.getpwuid(os.geteuid()).pw_name
        raise PrivilegeError(f"user: only root can become {user!r}; lb was started as {running!r}")
    owned: list[Path | int] = [*folders, *(sock.fileno() for sock in sockets)]
    for one in owned:
        give(one, user, wanted)
    may_bind = has_capability(CAP_NET_BIND_SERVICE)
    prctl(PR_SET_KEEPCAPS, 1)
    os.initgroups(user, wanted.group_id)
    os.setresgid(wanted.group_id, wanted.group_id, wanted.group_id)
    os.setresuid(wanted.user_id, wanted.user_id, wanted.user_id)
    keep_only(CAP_NET_BIND_SERVICE if may_bind else None)
    prctl(PR_SET_KEEPCAPS, 0)
    return wanted


def give(owned: Path | int, user: str, to: Identity) -> None:
    """A folder, or an open descriptor."""
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


def keep_only(capability: int | None) -> None:
    """Give up every other one; an ambient one must be permitted and inheritable."""
    sets = (CapabilitySets * 2)()
    if capability is not None:
        bit = 1 << capability % 32
        sets[capability // 32] = CapabilitySets(bit, bit, bit)
    check(libc.capset(ctypes.byref(CapabilityHeader(CAPABILITY_VERSION_3, 0)), sets), "capset")
    if capability is not None:
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability)


def prctl(option: int, *arguments: int) -> None:
    words = [ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]]
    check(libc.prctl(option, *words), f"prctl({option})")


def check(result: int, call: str) -> None:
    if result == -1:
        raise PrivilegeError(f"user: {call} failed: {os.strerror(ctypes.get_errno())}")
