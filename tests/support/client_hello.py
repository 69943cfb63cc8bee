"""ClientHellos: real ones, made by OpenSSL; and a slow reader of them, the oracle of lb._ext.hello.read()."""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

Hello = dict[str, bytes]
MORE, NONE = "more", "none"  # in place of what a hello says


def client_hello(
    name: str | None, protocols: Sequence[str] = (), *, version: Any = ssl.TLSVersion.TLSv1_3
) -> bytes:
    """The first bytes that a client sends: one record. `version`: the highest that it speaks."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    sent = ssl.MemoryBIO()
    connection = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        connection.do_handshake()
    return sent.read()


def in_records(hello: bytes, size: int) -> bytes:
    """The same message, cut into records of `size` bytes."""
    message = hello[5:]
    cuts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(hello[:3] + len(cut).to_bytes(2, "big") + cut for cut in cuts)


def with_name(hello: bytes, old: str, new: bytes) -> bytes:
    """The hello with other bytes, as many, in place of a name: such that no library would send."""
    assert len(old) == len(new) and hello.count(old.encode()) == 1
    return hello.replace(old.encode(), new)


# ---- The oracle -------------------------------------------------------------------------------------


class _Short(Exception):
    """The bytes end before what they promise."""


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if self.at + size > len(self.data):
            raise _Short
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def part(self, head: int) -> _Reader:
        return _Reader(self.take(self.number(head)))

    @property
    def left(self) -> int:
        return len(self.data) - self.at


def slowly_read(data: bytes) -> Hello | str:
    """What the hello at the start of `data` says, byte by byte as the RFCs have it."""
    message = b""
    records = _Reader(data)
    try:
        while True:
            if records.take(1) != b"\x16" or records.take(1) != b"\x03":
                return NONE
            records.take(1)
            size = records.number(2)
            if not 0 < size <= 1 << 14:
                return NONE
            message += records.take(min(size, records.left))
            if message and message[0] != 1:
                return NONE
            if len(message) >= 4 and len(message) - 4 >= int.from_bytes(message[1:4], "big"):
                break
            if records.left == 0:
                return MORE
    except _Short:
        return MORE
    try:
        return _told(_Reader(message[4 : 4 + int.from_bytes(message[1:4], "big")]))
    except _Short:
        return NONE


def _told(message: _Reader) -> Hello | str:
    name = protocols = b""
    message.take(2 + 32)
    message.part(1)
    message.part(2)
    message.part(1)
    if not message.left:
        return _hello(name, protocols)
    extensions = message.part(2)
    if message.left:
        return NONE
    while extensions.left:
        kind, extension = extensions.number(2), extensions.part(2)
        if kind not in (0, 16):
            continue
        listed = extension.part(2)
        if extension.left:
            return NONE
        if kind == 16:
            protocols = listed.data
        while listed.left:
            if kind == 0:
                host, found = listed.number(1) == 0, listed.part(2).data
                name = name or (found if host else b"")
            elif not listed.part(1).data:
                return NONE
    return _hello(name, protocols)


def _hello(name: bytes, protocols: bytes) -> Hello:
    plain = re.fullmatch(rb"[A-Za-z0-9._-]{1,255}", name)
    sole = protocols[1:] if protocols and protocols[0] == len(protocols) - 1 else b""
    return {"name": name.lower() if plain else b"", "protocols": protocols, "sole_protocol": sole}
