"""One fixed set of sessions, played while one system call of the data path fails; and the verdict.

Each session has a listener, a pool and endpoints of its own, so that every connection is known by its ports.
The sessions run at once, in one thread (tests/support/stage.py), with a clock that jumps when nothing happens
(tests/support/failing_calls.c): a deadline of minutes takes some milliseconds.
"""

from __future__ import annotations

import json
import select
import socket
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from lb.model.pool import Policy
from lb.model.snapshot import EndpointLine, ListenerLine, PoolLine, Snapshot
from tests.support.engine_bench import EngineBench, socket_address
from tests.support.failing_calls import FailingCalls, Seen
from tests.support.ports import free_port
from tests.support.scripted_endpoint import FIN, RESET
from tests.support.stage import End, Part, Turner, connecting

SMALL_BUFFER = 4096
BULK_BYTES = 600_000
NOISE = bytes((index * 2_654_435_761 >> 16) & 0xFF for index in range(1 << 16)) * 16
PIPES_MAX = 1  # fewer than there are streams: some are copied
QUIET_MS = 15  # in which nothing came: then the clock jumps
# From one to the next as long as nothing happens: beyond the longest deadline, then time to see what it did.
JUMPS_MS = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 1, 1, 1)
STEPS_MAX = 6000  # a trial without a fault takes some 300
ROUNDS_MAX = 20_000


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
    sources: tuple[str, ...] = ()  # hosts to connect to the endpoint from
    listening: list[socket.socket] = field(default_factory=list)
    client: End = field(init=False)
    servers: list[End] = field(default_factory=list)  # in the order of being accepted
    client_port: int = 0
    server_ports: list[int] = field(default_factory=list)
    quiet: Callable[[], bool] = lambda: False

    @property
    def server(self) -> End | None:
        """One that was given up came to its end without a byte; it may have been accepted after the other."""
        kept = [one for one in self.servers if one.received or not one.ended]
        return (kept or self.servers or [None])[-1]

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
        Play("sourced", ask_thrice, echo, sources=("127.0.0.2", "127.0.0.3")),
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


# ---- The trial --------------------------------------------------------------------------------------


class Trial:
    """Sets all up, plays it to the end, takes all down. `problems` is what went against a law."""

    def __init__(self, calls: FailingCalls) -> None:
        self.calls = calls
        self.plays = plays()
        self.problems: list[str] = []
        self.reasons: dict[str, list[str]] = {play.name: [] for play in self.plays}
        self._quiet_rounds = 0
        self._parts: list[Part] = []
        self._folder = tempfile.TemporaryDirectory(prefix="lb-trial-")
        for play in self.plays:
            play.quiet = lambda: self._quiet_rounds > 0
            for ordinal in range(2):
                listening = self._endpoint(play, ordinal)
                listening.setblocking(False)
                if play.small:
                    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL_BUFFER)
                play.listening.append(listening)
        self._accepting = select.poll()
        self._by_fd = {one.fileno(): play for play in self.plays for one in play.listening}
        for fd in self._by_fd:
            self._accepting.register(fd, select.POLLIN)
        self.bench = EngineBench(snapshot(self.plays), pipes_max=PIPES_MAX, sessions_max=16)
        self._addresses: list[tuple[str, int] | str] = [self.bench.address]
        for index, play in enumerate(self.plays[1:], start=1):
            if play.at_paths:
                path = f"{self._folder.name}/{play.name}.sock"
                self._addresses.append(self.bench.listen_unix(7 + index, index, path))
            else:
                self._addresses.append(self.bench.listen(7 + index, index))
        self.turner = Turner(self.bench)

    def _endpoint(self, play: Play, ordinal: int) -> socket.socket:
        if not play.at_paths:
            return socket.create_server(("127.0.0.1", 0), backlog=16)
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(f"{self._folder.name}/{play.name}-{ordinal}.sock")
        listening.listen(16)
        return listening

    def run(self, call: str, number: int, how: str) -> Seen:
        """Arms the fault, plays, and takes all down; returns what of the fault was seen."""
        self.calls.arm(call, number, how)
        try:
            self._play()
            self._judge_counts()
            self.calls.disarm()
            return self.calls.seen()
        finally:
            self.calls.disarm()
            self._take_down()

    def outcomes(self) -> dict[str, Outcome]:
        return {play.name: play.outcome(",".join(self.reasons[play.name])) for play in self.plays}

    # ---- Playing ----

    def _play(self) -> None:
        for play, address in zip(self.plays, self._addresses, strict=True):
            sock = connecting(address, receive_bytes=SMALL_BUFFER if play.small else 0)
            play.client, play.client_port = End(sock), 0 if play.at_paths else sock.getsockname()[1]
            self._parts.append(play.client_part(play))
        for _ in range(ROUNDS_MAX):
            self._collect()
            if not self._parts and self.bench.is_empty() and not self._accepting.poll(0):
                return
            if not self._turn_all() and not self._wait():
                self.problems.append("hang: nothing happens any more, and not all is over")
                return
            if self.turner.steps > STEPS_MAX:
                self.problems.append(f"spin: {self.turner.steps} steps")
                return
        self.problems.append("hang: it does not come to an end")

    def _turn_all(self) -> bool:
        """One round: a step, who came, a turn for each part. False: nobody got on."""
        moved = self.turner.turn()
        for fd, _ in self._accepting.poll(0):
            play = self._by_fd[fd]
            accepted, peer = next(one for one in play.listening if one.fileno() == fd).accept()
            play.servers.append(End(accepted))
            play.server_ports.append(peer[1] if peer else 0)
            self._parts.append(play.server_part(play, play.servers[-1]))
            moved = True
        for part in list(self._parts):
            try:
                moved = next(part) or moved
            except StopIteration:
                self._parts.remove(part)
                moved = True
        if moved:
            self._quiet_rounds = 0
        return moved

    def _wait(self) -> bool:
        """For the kernel, and then, as if much time had passed, for a deadline. False: there is none."""
        if self.turner.turn(QUIET_MS):
            return True
        if self._quiet_rounds == len(JUMPS_MS):
            return False
        self.calls.advance_ms(JUMPS_MS[self._quiet_rounds])
        self._quiet_rounds += 1
        self.turner.step()
        return True

    def _collect(self) -> None:
        for line in self.bench.lines():
            record = json.loads(line)
            self.reasons[record["listener"]].append(record["reason"])

    # ---- Judging and ending ----

    def _judge_counts(self) -> None:
        engine, board = self.bench.engine, self.bench.board
        self._collect()
        if any(engine.held().values()) or engine.sessions_open:
            self.problems.append(f"held: {engine.held()}, {engine.sessions_open} sessions open")
        if board.sessions_open_by_endpoint() or board.sessions_open_by_listener():
            self.problems.append("gauges drifted")
        for index, play in enumerate(self.plays):
            counts = board.listener(index)
            accepted, closed = counts.sessions_total, sum(counts.closed.values())
            if not accepted == closed == len(self.reasons[play.name]) == 1:
                self.problems.append(
                    f"{play.name}: {accepted} accepted, {closed} closed, records {self.reasons[play.name]}"
                )
            if any(server.received for server in play.servers if server is not play.server):
                self.problems.append(f"{play.name}: bytes went to an endpoint that was given up")

    def _take_down(self) -> None:
        for play in self.plays:
            for end in (play.client, *play.servers):
                end.sock.close()
            for listening in play.listening:
                listening.close()
        self.bench.close()
        self._folder.cleanup()


def snapshot(played: list[Play]) -> Snapshot:
    listeners: list[ListenerLine] = []
    pools: list[PoolLine] = []
    endpoints: list[EndpointLine] = []
    for index, play in enumerate(played):
        first = len(endpoints)
        places = [("127.0.0.1", free_port()) for _ in range(play.refusing)]
        places += [one.getsockname() for one in play.listening]
        for number, place in enumerate(places):
            endpoints.append(EndpointLine(f"{play.name}-{number}", play.name, socket_address(place), 1, 0))
        ids = tuple(range(first, len(endpoints)))
        pools.append(PoolLine(play.name, Policy.ROUND_ROBIN, 20_000, 3, ids, ids, sources=play.sources))
        listeners.append(ListenerLine(play.name, index, 0, 30_000, 15_000, 2000, keepalive_s=(30, 10, 3)))
    return Snapshot(1, tuple(listeners), tuple(pools), tuple(endpoints))


# ---- The verdict ------------------------------------------------------------------------------------


def judge(trial: Trial, seen: Seen, expected: dict[str, Outcome], harmless: bool) -> list[str]:
    """What is against the laws when this fault was applied."""
    found = trial.outcomes()
    suffered = [play for play in trial.plays if found[play.name] != expected[play.name]]
    problems = list(trial.problems)
    if len(suffered) > 1 or (harmless and suffered):
        problems.append("suffered: " + "; ".join(differences(play, found, expected) for play in suffered))
    concerned = [play for play in trial.plays if is_of(play, seen)]
    for play in suffered:
        if concerned and play not in concerned:
            problems.append(f"it concerned {concerned[0].name}: {differences(play, found, expected)}")
        problems += truncated(play, trial.reasons[play.name])
    return problems


def is_of(play: Play, seen: Seen) -> bool:
    ports = {play.client_port, *play.server_ports} - {0}  # a unix socket has none, and is not told apart
    return bool({seen.local_port, seen.peer_port} & ports)


def differences(play: Play, found: dict[str, Outcome], expected: dict[str, Outcome]) -> str:
    pairs = zip(Outcome._fields, found[play.name], expected[play.name], strict=True)
    return f"{play.name}: " + ", ".join(
        f"{name} {short(now)} for {short(before)}" for name, now, before in pairs if now != before
    )


def short(value: str | bytes) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else repr(value)


def truncated(play: Play, reasons: list[str]) -> list[str]:
    """Bytes are lost only where a reset says so, which a unix socket has none of; a session that was given up
    for its silence may just end."""
    problems = []
    server = play.server
    if server is None:
        return []
    for name, giver, taker in (("upload", play.client, server), ("download", server, play.client)):
        if not giver.sent.startswith(taker.received):
            problems.append(f"{play.name}: {name}: what came is not what was sent")
        given_up = reasons in (["idle_timeout"], ["half_close_timeout"])
        if play.at_paths or given_up:
            continue
        if taker.ended == FIN and not (giver.finished and taker.received == giver.sent):
            problems.append(
                f"{play.name}: {name}: {len(taker.received)} of {len(giver.sent)} bytes, and a clean end"
            )
    return problems


__all__ = ["RESET", "Outcome", "Play", "Trial", "judge"]
