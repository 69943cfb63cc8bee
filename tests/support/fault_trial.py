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

from lb.model.pool import Policy
from lb.model.snapshot import EndpointLine, ListenerLine, PoolLine, Snapshot
from tests.support.engine_bench import EngineBench, socket_address
from tests.support.failing_calls import FailingCalls, Seen
from tests.support.fault_plays import Outcome, Play, plays
from tests.support.ports import free_port
from tests.support.scripted_endpoint import FIN
from tests.support.stage import End, Part, Turner, connecting

SMALL_BUFFER = 4096
PIPES_MAX = 1  # fewer than there are streams: some are copied
QUIET_MS = 15  # in which nothing came: then the clock jumps
# From one to the next as long as nothing happens: beyond the longest deadline, then time to see what it did.
JUMPS_MS = (50, 100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 1, 1, 1)
STEPS_MAX = 6000  # a trial without a fault takes some 300
ROUNDS_MAX = 20_000


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
            given_up = [server for server in play.servers if server is not play.server]
            if any(len(server.received) > play.introduction_bytes for server in given_up):
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
        pools.append(PoolLine(play.name, Policy.ROUND_ROBIN, 20_000, 3, ids, ids, **play.pool))
        listeners.append(
            ListenerLine(play.name, index, 0, 30_000, 15_000, 2000, keepalive_s=(30, 10, 3), **play.listener)
        )
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
    for name, giver, taker, consumed, added in (
        ("upload", play.client, server, play.consumed_bytes, play.introduction_bytes),
        ("download", server, play.client, 0, 0),
    ):
        sent, received = giver.sent[consumed:], taker.received[added:]
        if not sent.startswith(received):
            problems.append(f"{play.name}: {name}: what came is not what was sent")
        given_up = reasons in (["idle_timeout"], ["half_close_timeout"])
        if play.at_paths or given_up:
            continue
        if taker.ended == FIN and not (giver.finished and received == sent):
            problems.append(f"{play.name}: {name}: {len(received)} of {len(sent)} bytes, and a clean end")
    return problems
