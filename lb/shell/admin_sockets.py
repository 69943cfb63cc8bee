"""The two sockets of the admin server, and who is at their other end."""

from __future__ import annotations

import asyncio
import errno
import os
import pwd
import socket
import stat
import struct
from pathlib import Path

from lb.model.address import Address

BACKLOG = 128
MODE = 0o660  # the group of the socket may operate lb
PEER_CREDENTIALS = struct.Struct("3i")  # struct ucred: pid, uid, gid


class CannotListen(Exception):
    """The text names the key of the configuration, the place, and what to do."""


def listen_tcp(address: Address) -> socket.socket:
    sock = socket.socket(socket.AF_INET6 if address.is_ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.is_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen(f"admin.bind: {address}: {_why(error)}") from error
    sock.setblocking(False)
    return sock


def listen_unix(path: Path) -> socket.socket:
    """A socket file that nobody listens to any more is replaced; one that is answered is another lb's."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _clear(path)
        os.fchmod(sock.fileno(), MODE)  # bind() creates the file with it, less the umask: never with more
        sock.bind(str(path))
        path.chmod(MODE)
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise CannotListen(f"admin.socket: {path}: {_why(error)}") from error
    except CannotListen:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def identity(path: Path) -> tuple[int, int] | None:
    """Tells whether the file at a path is still the same one; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_unix(transport: asyncio.Transport) -> bool:
    sock: socket.socket = transport.get_extra_info("socket")
    return sock.family == socket.AF_UNIX


def who(transport: asyncio.Transport) -> str:
    """The other end in an operator's words: `unix uid 0 (root)`, or `127.0.0.1:1234`."""
    if not is_unix(transport):
        return str(Address(*transport.get_extra_info("peername")[:2]))
    sock: socket.socket = transport.get_extra_info("socket")
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER_CREDENTIALS.size)
    uid = PEER_CREDENTIALS.unpack(credentials)[1]
    try:
        return f"unix uid {uid} ({pwd.getpwuid(uid).pw_name})"
    except KeyError:
        return f"unix uid {uid}"


def _clear(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"admin.socket: {path}: there is a file that is not a socket; choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as visitor:
        visitor.setblocking(False)
        if visitor.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise CannotListen(
                f"admin.socket: {path}: another lb answers there; stop it or choose another path"
            )
    path.unlink()


def _why(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "in use by another program; stop it or choose another port"
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address"
        case errno.ENOENT:
            return "the folder does not exist; create it or set runtime_dir"
        case errno.EACCES | errno.EPERM:
            return "not permitted to this user"
        case number:
            return os.strerror(number) if number else str(error)  # a path too long has no number
