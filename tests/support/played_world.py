"""A small world around one engine: endpoints, clients, and what is known of every session between them.

Everything happens in the test's thread (tests/support/stage.py). After each order the world is settled: the
engine turns and the ends read and write until nothing more comes. Then what was seen is held against the
laws; `World.check` has those that hold at any moment, `World.end` those of the end.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lb.model.address import Address
from lb.model.pool import Policy
from lb.model.snapshot import EndpointLine, ListenerLine, PoolLine, Snapshot
from tests.support.engine_bench import EngineBench
from tests.support.ports import free_port
from tests.support.scripted_endpoint import FIN, RESET
from tests.support.stage import End, Turner, connecting

NOISE = memoryview(os.urandom(1 << 20) * 3)  # no test depends on what it is, only on where it differs
NUMBER = struct.Struct("!Q")  # of its session: what a client sends first
QUIET_MS = 2
WAIT_MS, WAITS_MAX = 20, 500
_ports: list[int] = []  # of worlds that have ended
QUEUE_TURNS = 8
IDLE_TURNS_MAX = 1000  # in a row, of an engine that nobody gives anything
RESET_LINGER_MS = 200


@dataclass(frozen=True)
class Settings:
    """What a snapshot says; endpoints are numbers."""

    eligible: tuple[int, ...]
    weights: tuple[int, ...]
    policy: Policy = Policy.ROUND_ROBIN
    sessions_max: int = 0
    endpoint_sessions_max: int = 0
    queue_max: int = 0


class Endpoint:
    """A port of its own; connections are refused while it is not open."""

    def __init__(self, *, receive_bytes: int = 0) -> None:
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Not a port that the kernel chose: while nobody listens, it would give that to others.
        self.socket.bind(("127.0.0.1", _ports.pop() if _ports else free_port()))
        self.socket.setblocking(False)
        self.address = self.socket.getsockname()
        self.is_open = False
        self.open()

    def open(self) -> None:
        self.is_open = True
        self.socket.listen(64)

    def close(self) -> None:
        """The socket listens no more, and keeps the port from others."""
        if self.is_open:
            self.is_open = False
            self.socket.shutdown(socket.SHUT_RD)

    def accept(self) -> End | None:
        if not self.is_open:
            return None
        try:
            return End(self.socket.accept()[0])
        except BlockingIOError:
            return None


@dataclass(eq=False)
class Side:
    """One end as the test plays it. What it is to send waits in `planned` until the kernel takes it."""

    salt: int
    end: End | None = None
    planned: int = 0  # bytes
    sent: int = 0
    head: bytes = b""  # before them
    checked: int = 0  # of what it received, bytes known to be right
    stalled: bool = False
    finishes: bool = False  # once all is sent

    def plan(self, size: int) -> None:
        if not self.finishes:
            self.planned += size

    def play(self) -> bool:
        """Reads and writes what it can. False: it could not."""
        end = self.end
        if end is None or not end.is_open:
            return False
        moved = not self.stalled and end.pull() > 0
        while self.head:
            size = end.push(self.head)
            if size <= 0:
                return moved
            self.head, moved = self.head[size:], True
        while self.sent < self.planned:
            place = (self.salt + self.sent) % (1 << 20)
            size = end.push(NOISE[place : place + min(self.planned - self.sent, 1 << 20)])
            if size <= 0:
                return moved
            self.sent, moved = self.sent + size, True
        if self.finishes and not end.finished:
            end.finish()
            moved = True
        return moved


@dataclass(eq=False)
class Session:
    """`causes`: reasons that what was done to it allows; `chances`: as long as it has no endpoint."""

    number: int
    port: int
    client: Side
    server: Side
    endpoint: int | None = None
    causes: set[str] = field(default_factory=set)
    chances: set[str] = field(default_factory=set)
    record: dict[str, Any] | None = None

    @property
    def sides(self) -> tuple[Side, Side]:
        return self.client, self.server

    @property
    def is_disturbed(self) -> bool:
        """Reset by an end or cut by an order: bytes may be lost, and a reset says so."""
        return bool(self.causes)

    def reasons(self) -> set[str]:
        finished = all(side.end is not None and side.end.finished for side in self.sides)
        chances = self.chances if self.endpoint is None else set()
        return self.causes | chances | ({"done"} if finished else set())


class World:
    """Endpoints, an engine before them, and the sessions."""

    def __init__(self, settings: Settings, *, pipes_max: int, receive_bytes: Sequence[int]) -> None:
        self.endpoints = [Endpoint(receive_bytes=size) for size in receive_bytes]
        self.settings = settings
        self.generation = 1
        self.bench = EngineBench(self._snapshot(), pipes_max=pipes_max, sessions_max=200)
        self.turner = Turner(self.bench)
        self.sessions: list[Session] = []
        self.unknown: list[tuple[int, End]] = []  # accepted by an endpoint, and no number came yet
        self._by_port: dict[int, Session] = {}
        self.closed: Counter[str] = Counter()

    # ---- Orders ----

    def open(self, *, receive_bytes: int = 0) -> Session:
        number = len(self.sessions)
        sock = connecting(self.bench.address, receive_bytes=receive_bytes)
        made = Session(number, sock.getsockname()[1], Side(7919 * number), Side(7919 * number + 524_288))
        made.client.end, made.client.head = End(sock), NUMBER.pack(number)
        self.sessions.append(made)
        self._by_port[made.port] = made
        self.note_chances()
        return made

    def note_chances(self) -> None:
        """What may become of those that have no endpoint, as things stand."""
        chances = set()
        if not self.settings.eligible:
            chances.add("no_endpoint")
        if self.settings.endpoint_sessions_max:
            chances.add("refused_limit")
        if any(not one.is_open for one in self.endpoints):
            chances.add("connect_failed")
        for session in self.sessions:
            if session.endpoint is None:
                session.chances |= chances

    def reload(self, **changes: Any) -> None:
        self.settings = replace(self.settings, **changes)
        self.generation += 1
        assert self.bench.publish(self._snapshot()) == self.generation
        self.note_chances()

    def close_sessions(self, endpoint: int, reason: str) -> None:
        """Those that the endpoint has now, whatever they are about."""
        for session in self.sessions:
            if session.record is None and session.endpoint in (endpoint, None):
                session.causes.add(reason)
        start = 0
        while start != -1:
            start = self.bench.engine.close_some(endpoint, -1, reason, start)

    def reset(self, session: Session, side: Side) -> None:
        if side.end is not None and side.end.is_open:
            session.causes.add("client_reset" if side is session.client else "endpoint_reset")
            side.end.reset()

    def _snapshot(self) -> Snapshot:
        now = self.settings
        lines = tuple(
            EndpointLine(f"e{number}", "pool", Address(*one.address), weight, now.endpoint_sessions_max)
            for number, (one, weight) in enumerate(zip(self.endpoints, now.weights, strict=True))
        )
        schedule = tuple(one for one in now.eligible for _ in range(now.weights[one]))
        pool = PoolLine(
            "pool", now.policy, 20_000, 3, now.eligible, schedule, retry_budget_percent=100,
            queue_max=now.queue_max, queue_timeout_ms=600_000,
        )  # fmt: skip
        listener = ListenerLine(
            "web", 0, now.sessions_max, 600_000, 600_000, RESET_LINGER_MS, keepalive_s=(30, 10, 3)
        )
        return Snapshot(self.generation, (listener,), (pool,), lines)

    # ---- What happens ----

    def settle(self) -> None:
        """Until nothing more comes for a little while."""
        turns = 0
        while turns < IDLE_TURNS_MAX:
            if self._round():
                turns = 0
            elif turns >= QUEUE_TURNS and self.bench.engine.held()["queued"]:
                return  # who waits is looked for each millisecond
            elif not self.turner.turn(QUIET_MS):
                return
            turns += 1
        raise AssertionError("it spins")

    def eventually(self, condition: Any, reason: str) -> None:
        """For what the kernel, or a deadline of some milliseconds, has to do first."""

        def holds() -> bool:
            self._round()
            return bool(condition())

        self.turner.steps = 0
        self.turner.until(holds, wait_ms=WAIT_MS, waits_max=WAITS_MAX, reason=reason)

    def _round(self) -> bool:
        """Whether somebody beside the engine got on."""
        self.turner.turn()
        moved = False
        for number, endpoint in enumerate(self.endpoints):
            while (end := endpoint.accept()) is not None:
                self.unknown.append((number, end))
                moved = True
        moved = self._recognize() or moved
        for session in self.sessions:
            for side in session.sides:
                moved = side.play() or moved
        self._read_records()
        return moved

    def _recognize(self) -> bool:
        """A connection tells by its first bytes whose it is; one that was given up tells nothing."""
        moved = False
        for place in list(self.unknown):
            number, end = place
            moved = end.pull(NUMBER.size - len(end.received)) > 0 or moved
            if len(end.received) == NUMBER.size:
                session = self.sessions[NUMBER.unpack(bytes(end.received))[0]]
                assert session.server.end is None, f"session {session.number} came to two endpoints"
                assert number in self.settings.eligible or session.is_disturbed, (
                    f"endpoint {number} is not eligible"
                )
                end.received.clear()
                session.server.end, session.endpoint = end, number
            elif not end.ended:
                continue
            self.unknown.remove(place)
        return moved

    def _read_records(self) -> None:
        for line in self.bench.lines():
            record = json.loads(line)
            session = self._by_port[int(record["client"].rpartition(":")[2])]
            assert session.record is None, f"a second record: {record}, after {session.record}"
            session.record = record
            self.closed[record["reason"]] += 1

    # ---- Laws ----

    def check(self) -> None:
        """What holds at any moment, once the world is settled."""
        for session in self.sessions:
            self._check_bytes(session, session.client, session.server)
            self._check_bytes(session, session.server, session.client)
            if session.record is not None:
                self._check_record(session)
        counts = self.bench.board.listener(0)
        assert counts.sessions_total == counts.sessions_open + sum(counts.closed.values())
        assert {reason: count for reason, count in counts.closed.items() if count} == dict(self.closed)
        assert counts.sessions_open == self.bench.engine.sessions_open

    def _check_bytes(self, session: Session, giver: Side, taker: Side) -> None:
        """What came is the beginning of what was sent; a clean end is behind all of it."""
        if taker.end is None:
            return
        received = taker.end.received
        while taker.checked < len(received):
            place = (giver.salt + taker.checked) % (1 << 20)
            size = min(len(received) - taker.checked, 1 << 20)
            assert received[taker.checked : taker.checked + size] == NOISE[place : place + size], (
                "other bytes came"
            )
            taker.checked += size
        assert taker.checked <= giver.sent, "more came than was sent"
        if taker.end.ended == FIN:
            assert giver.end is not None and giver.end.finished, (
                f"an end of stream came that nobody sent: {session}"
            )
            assert taker.checked == giver.sent, (
                f"{taker.checked} of {giver.sent} bytes came, and a clean end: {session}"
            )

    def _check_record(self, session: Session) -> None:
        record = session.record
        assert record is not None
        assert record["reason"] in session.reasons(), f"{record} for {session.reasons()}"
        assert record["bytes_in"] <= session.client.sent + NUMBER.size
        assert record["bytes_out"] <= session.server.sent
        if record["reason"] == "done":
            sent = session.client.sent + NUMBER.size, session.server.sent
            assert (record["bytes_in"], record["bytes_out"]) == sent, "done, and not all was passed on"
        if record["endpoint"] is not None and session.endpoint is not None:
            assert record["endpoint"] == f"e{session.endpoint}"

    def gauges(self) -> dict[int, int]:
        """Sessions by endpoint, as the world knows them."""
        return dict(
            Counter(one.endpoint for one in self.sessions if one.endpoint is not None and not one.record)
        )

    def check_gauges(self) -> None:
        """Once nobody is being connected, and none waits: those are counted, and nobody knows where."""
        self.eventually(
            lambda: self.bench.board.sessions_open_by_endpoint() == self.gauges(),
            "the endpoints' gauges are the sessions they have",
        )

    def end(self) -> None:
        """Everybody reads, sends what is left and finishes; then nothing may be left over."""
        for endpoint in self.endpoints:
            endpoint.open()
        everybody = tuple(range(len(self.endpoints)))
        self.reload(eligible=everybody, sessions_max=0, endpoint_sessions_max=0)
        for session in self.sessions:
            for side in session.sides:
                side.stalled, side.finishes = False, True
        self.eventually(lambda: all(one.record for one in self.sessions), "every session has its record")
        self.eventually(self.bench.is_empty, "the engine holds nothing")
        ends = [side.end for session in self.sessions for side in session.sides if side.end is not None]
        self.eventually(
            lambda: all(end.ended or not end.is_open for end in ends), "every end sees its session's end"
        )
        self.check()
        for session in self.sessions:
            self._check_end(session)
        assert len(self.sessions) == self.bench.board.listener(0).sessions_total
        assert self.bench.board.sessions_open_by_endpoint() == {}
        assert self.bench.board.sessions_open_by_listener() == {}
        assert not any(self.bench.engine.held().values())

    def _check_end(self, session: Session) -> None:
        """Both ends know how it ended: in order with every byte, or by a reset."""
        for side, other in (session.sides, session.sides[::-1]):
            if side.end is None or not side.end.is_open:
                continue
            if session.endpoint is None:
                assert side.end.ended == RESET, f"session {session.number} was turned away, and not reset"
            elif not session.is_disturbed:
                assert side.end.ended == FIN and side.checked == other.sent, f"session {session.number}"
            else:
                assert side.end.ended in (FIN, RESET), f"session {session.number} is left open"

    def close(self) -> None:
        for session in self.sessions:
            for side in session.sides:
                if side.end is not None:
                    side.end.sock.close()
        for _, end in self.unknown:
            end.sock.close()
        for endpoint in self.endpoints:
            endpoint.socket.close()
            _ports.append(endpoint.address[1])
        self.bench.close()
