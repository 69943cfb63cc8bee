"""The sessions of a fault trial: what the ends of each do, and what they see of it.

One session each, with a listener and a pool of its own; between them they use every stretch of the data path.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lb.model.networks import Networks
from lb.model.proxy import ProxyVersion
from tests.support.client_hello import client_hello
from tests.support.scripted_endpoint import RESET
from tests.support.snapshots import BY_NAME
from tests.support.stage import End, Part

BULK_BYTES = 600_000
NOISE = bytes((index * 2_654_435_761 >> 16) & 0xFF for index in range(1 << 16)) * 16
LOOPBACK = Networks.parse(["127.0.0.0/8"])
HEADER = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
INTRODUCTION_BYTES = 28  # a header of version 2 with IPv4 addresses and nothing more
HELLO = client_hello("www.example", ["h2"])


class Outcome(NamedTuple):
    """What both ends of a session saw; a fault that does not concern it leaves that as it was."""

    client_received: bytes
    client_ended: str
    server_received: bytes
    server_ended: str
    reason: str


@dataclass(eq=False)
class Play:
    """One session: what its ends do, and what became of it."""

    name: str
    client_part: Callable[[Play], Part]
    server_part: Callable[[Play, End], Part]
    refusing: int = 0  # endpoints where nobody listens
    small: bool = False  # the buffers of whoever reads
    at_paths: bool = False  # client and endpoint are connected by unix sockets
    listener: dict[str, Any] = field(default_factory=dict)  # keys of its line
    pool: dict[str, Any] = field(default_factory=dict)
    consumed_bytes: int = 0  # of what the client sends, kept by lb
    introduction_bytes: int = 0  # put before what the endpoint gets
    listening: list[socket.socket] = field(default_factory=list)
    client: End = field(init=False)
    servers: list[End] = field(default_factory=list)  # in the order of being accepted
    client_port: int = 0
    server_ports: list[int] = field(default_factory=list)
    quiet: Callable[[], bool] = lambda: False

    @property
    def server(self) -> End | None:
        """One that was given up came to its end without a byte or with a part of lb's own header, whatever it
        said itself; it may have been accepted after the other."""
        kept = [one for one in self.servers if one.received or not one.ended]
        return max(
            kept or self.servers, key=lambda one: (len(one.received), one.ended != RESET), default=None
        )

    def outcome(self, reason: str) -> Outcome:
        server = self.server
        return Outcome(
            bytes(self.client.received),
            self.client.ended,
            bytes(server.received) if server else b"",
            server.ended if server else "",
            reason,
        )


# ---- What the sessions do ---------------------------------------------------------------------------


def plays() -> list[Play]:
    return [
        Play("exchange", ask_thrice, echo),
        Play("bulk", pour, pour_back),
        Play("half-close", ask_and_finish, answer_at_the_end),
        Play("client-reset", ask_and_reset, echo),
        Play("endpoint-reset", read_all, speak_and_reset),
        Play("blocked", pour, wait_and_read, small=True),
        Play("blocked-answer", wait_and_drink, pour_out, small=True),
        Play("refused", ask_thrice, echo, refusing=1),
        Play("greeting", read_all, greet),
        Play("sourced", ask_thrice, echo, pool={"sources": ("127.0.0.2", "127.0.0.3")}),
        Play("limited", ask_thrice, echo, listener={"rate_max": 1000, "sessions_max_per_source": 9}),
        Play("paced", read_all, greet, listener={"download_max": 40_000}),
        Play("named", say_hello_in_two, answer_at_the_end, pool={"hash": BY_NAME}),
        Play(
            "proxied",
            say_who_in_two,
            answer_at_the_end,
            listener={"accept_proxy": LOOPBACK},
            pool={"send_proxy": ProxyVersion.V2},
            consumed_bytes=len(HEADER),
            introduction_bytes=INTRODUCTION_BYTES,
        ),
        Play("unix-bulk", pour, pour_back, at_paths=True),
        Play("unix-reset", read_all, speak_and_leave, at_paths=True),
    ]


def ask_thrice(play: Play) -> Part:
    for size in (1, 500, 9000):
        before = len(play.client.received)
        yield from play.client.send(NOISE[:size])
        yield from play.client.read(before + size)
    play.client.finish()
    yield from play.client.read_to_end()


def echo(_play: Play, server: End) -> Part:
    back = 0
    while not server.ended or back < len(server.received):
        got = server.pull()
        sent = server.push(memoryview(bytes(server.received))[back : back + 65536])
        if sent < 0:
            return
        back += sent
        yield got > 0 or sent > 0
    server.finish()


def pour(play: Play) -> Part:
    """Sends all it has, reading what comes meanwhile."""
    view = memoryview(NOISE)[:BULK_BYTES]
    while view:
        got = play.client.pull()
        sent = play.client.push(view)
        if sent < 0:
            break
        view = view[sent:]
        yield got > 0 or sent > 0
    play.client.finish()
    yield from play.client.read_to_end()


def pour_back(_play: Play, server: End) -> Part:
    view = memoryview(NOISE)[1000 : 1000 + BULK_BYTES]
    while view or not server.ended:
        got = server.pull(65536)
        sent = server.push(view) if view else 0
        if sent < 0:
            return
        view = view[sent:]
        yield got > 0 or sent > 0
    server.finish()


def ask_and_finish(play: Play) -> Part:
    yield from play.client.send(NOISE[:100_000])
    play.client.finish()
    yield from play.client.read_to_end()


def say_hello_in_two(play: Play) -> Part:
    """The name is in the second half: a routing deadline runs meanwhile."""
    yield from play.client.send(HELLO[:40])
    while not play.quiet():
        yield False
    yield from play.client.send(HELLO[40:] + NOISE[:20_000])
    play.client.finish()
    yield from play.client.read_to_end()


def say_who_in_two(play: Play) -> Part:
    yield from play.client.send(HEADER[:20])
    while not play.quiet():
        yield False
    yield from play.client.send(HEADER[20:] + NOISE[:40_000])
    play.client.finish()
    yield from play.client.read_to_end()


def answer_at_the_end(_play: Play, server: End) -> Part:
    yield from server.read_to_end()
    yield from server.send(NOISE[5:80_000])
    server.finish()


def ask_and_reset(play: Play) -> Part:
    yield from play.client.send(NOISE[:2000])
    yield from play.client.read(2000)
    play.client.reset()


def speak_and_reset(play: Play, server: End) -> Part:
    yield from server.send(NOISE[:50_000])
    while len(play.client.received) < 50_000 and not play.client.ended:
        yield False
    server.reset()


def speak_and_leave(play: Play, server: End) -> Part:
    """With bytes unread, which is what a unix socket has for a reset."""
    yield from play.client.send(NOISE[:10])
    yield from server.send(NOISE[:50_000])
    while len(play.client.received) < 50_000 and not play.client.ended:
        yield False
    server.reset()


def read_all(play: Play) -> Part:
    yield from play.client.read_to_end()
    play.client.finish()


def greet(_play: Play, server: End) -> Part:
    yield from server.send(NOISE[:33_000])
    server.finish()
    yield from server.read_to_end()


def wait_and_read(play: Play, server: End) -> Part:
    """Reads nothing until all the ways are full, then a little at a time."""
    while not play.quiet():
        yield False
    while not server.ended:
        yield server.pull(20_000) > 0
    server.finish()


def pour_out(_play: Play, server: End) -> Part:
    yield from server.send(NOISE[7 : 7 + BULK_BYTES])
    server.finish()
    yield from server.read_to_end()


def wait_and_drink(play: Play) -> Part:
    while not play.quiet():
        yield False
    while not play.client.ended:
        yield play.client.pull(20_000) > 0
    play.client.finish()
