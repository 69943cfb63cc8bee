"""A world for the brain: a scripted network, sessions, and a clock that jumps to the next thing that happens.

    world = Simulation(config, seed=7)
    world.at(10.0, lambda: world.behave("web/a", killed))
    world.run(until=20.0)

Everything is drawn from the seed, which every failure names. The laws that hold at all times are checked as
it goes: one probe at a time, none in MAINT, a snapshot that names only what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import NamedTuple

from lb.core.brain import Brain, EndpointView
from lb.core.commands import (
    CancelProbe,
    CloseSessions,
    Command,
    CountSessions,
    Emit,
    ForgetEndpoint,
    PublishSnapshot,
    StartProbe,
    WakeAt,
)
from lb.core.events import ConfigLoaded, Event, ProbeFinished, SessionsCounted, Tick
from lb.model.check import AgentWords, Check, ProbeResult
from lb.model.config import Config
from lb.model.endpoint import EndpointKey
from lb.model.record import Record
from lb.model.snapshot import EndpointLine, Snapshot

EVENTS_MAX = 5_000_000  # in one run: more is a brain that wakes for nothing


class Answer(NamedTuple):
    """What a probe meets: its result, and how long it takes. `late`: our own loop was. `agent`: what an
    agent says."""

    ok: bool
    after_s: float
    late: bool = False
    agent: AgentWords | None = None


Probed = tuple[EndpointKey, Check]
Behaviour = Callable[[Random, Check], Answer]


def serves(random: Random, check: Check) -> Answer:
    return Answer(True, random.uniform(0.0005, 0.005))


def killed(random: Random, check: Check) -> Answer:
    """Its port is closed: refused at once."""
    return Answer(False, random.uniform(0.0002, 0.001))


def hung(random: Random, check: Check) -> Answer:
    """It answers nothing."""
    return Answer(False, check.timeout_s)


def unseen(random: Random, check: Check) -> Answer:
    """It serves, but our loop is stuck and looks too late."""
    return Answer(False, check.timeout_s, late=True)


def flaky(percent: float) -> Behaviour:
    """Refuses that share of the probes."""
    return lambda random, check: (killed if random.random() * 100 < percent else serves)(random, check)


class Seen(NamedTuple):
    at_s: float
    record: Record


class Simulation:
    def __init__(self, config: Config, seed: int) -> None:
        self.seed, self.now = seed, 0.0
        self.random = Random(seed)
        self.brain = Brain(seed)
        self.records: list[Seen] = []
        self.snapshots: list[tuple[float, Snapshot]] = []
        self.probe_starts: dict[EndpointKey, list[float]] = {}
        self.sessions: dict[int, int] = {}  # open ones, by endpoint id
        self.closed: list[tuple[float, CloseSessions]] = []
        self._behaviours: dict[EndpointKey, Behaviour] = {}
        self._running: dict[int, Probed] = {}
        self._probed: set[Probed] = set()
        self._in_maint: set[EndpointKey] = set()
        self._wake_s: float | None = None
        self._order = count()
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self.at(0.0, lambda: self.handle(ConfigLoaded(config)))

    # ---- The script ----------------------------------------------------------------------------------

    def at(self, time_s: float, happening: Callable[[], None]) -> None:
        heappush(self._queue, (time_s, next(self._order), happening))

    def behave(self, key: EndpointKey, behaviour: Behaviour) -> None:
        """From its next probe on."""
        self._behaviours[key] = behaviour

    def run(self, until: float) -> None:
        for _ in range(EVENTS_MAX):
            if not self._queue or self._queue[0][0] > until:
                self.now = until
                return
            self.now, _, happening = heappop(self._queue)
            happening()
        raise AssertionError(f"{EVENTS_MAX} events by {self.now} s; seed {self.seed}")

    # ---- What was seen -------------------------------------------------------------------------------

    @property
    def snapshot(self) -> Snapshot:
        return self.snapshots[-1][1]

    def view(self, key: EndpointKey) -> EndpointView:
        [found] = [each for each in self.brain.endpoints() if each.key == key and not each.removed]
        return found

    def changes(self, key: EndpointKey, axis: str, to: object) -> list[float]:
        """When the axis of an endpoint became this."""
        wanted = {"pool": key.pool, "endpoint": key.endpoint, "axis": axis, "to": to}
        return [seen.at_s for seen in self.records if wanted.items() <= seen.record.facts.items()]

    def eligible(self, pool: str) -> set[str]:
        return {line.name for line in eligible_lines(self.snapshot, pool)}

    # ---- The shell's part ----------------------------------------------------------------------------

    def handle(self, event: Event) -> None:
        commands = self.brain.handle(event, self.now)
        for command in commands:
            if isinstance(command, Emit):
                self._note(command.record)
        for command in commands:
            self._perform(command)

    def _note(self, record: Record) -> None:
        self.records.append(Seen(self.now, record))
        if record.facts.get("axis") == "admin":
            key = EndpointKey(record.facts["pool"], record.facts["endpoint"])
            (self._in_maint.add if record.facts["to"] == "MAINT" else self._in_maint.discard)(key)

    def _perform(self, command: Command) -> None:
        match command:
            case StartProbe():
                self._start_probe(command)
            case CancelProbe(number):
                self._probed.remove(self._running.pop(number))
            case WakeAt(at_s):
                self._wake_s = at_s
                self.at(max(at_s, self.now), lambda: self._tick(at_s))
            case PublishSnapshot(snapshot):
                assert snapshot.generation == len(self.snapshots) + 1, self
                check_references(snapshot)
                self.snapshots.append((self.now, snapshot))
            case CountSessions():
                self.at(self.now + 0.001, lambda: self.handle(SessionsCounted(dict(self.sessions), {})))
            case CloseSessions():
                self.closed.append((self.now, command))
                if command.endpoint_id is not None:
                    self.sessions.pop(command.endpoint_id, None)
            case ForgetEndpoint(number, _):
                assert not self.sessions.get(number), f"endpoint {number} was forgotten with sessions; {self}"

    def _tick(self, at_s: float) -> None:
        if self._wake_s == at_s:
            self._wake_s = None
            self.handle(Tick())

    def _start_probe(self, command: StartProbe) -> None:
        key = command.key
        probed = key, command.check
        assert probed not in self._probed, f"{key} is probed twice at once; {self}"
        assert key not in self._in_maint, f"{key} is probed in MAINT; {self}"
        self._running[command.probe] = probed
        self._probed.add(probed)
        self.probe_starts.setdefault(key, []).append(self.now)
        answer = self._behaviours.get(key, serves)(self.random, command.check)
        detail = "answered" if answer.ok else "no answer"
        result = ProbeResult(answer.ok, detail, answer.after_s, agent=answer.agent)
        finished = ProbeFinished(command.probe, key, result, answer.late)
        self.at(self.now + answer.after_s, lambda: self._finish_probe(finished))

    def _finish_probe(self, finished: ProbeFinished) -> None:
        if (probed := self._running.pop(finished.probe, None)) is not None:
            self._probed.remove(probed)
            self.handle(finished)

    def __repr__(self) -> str:
        return f"seed {self.seed}, {self.now:.3f} s"


def eligible_lines(snapshot: Snapshot, pool: str) -> Iterator[EndpointLine]:
    for line in snapshot.pools:
        if line is not None and line.name == pool:
            for number in line.eligible:
                endpoint = snapshot.endpoints[number]
                assert endpoint is not None
                yield endpoint


def check_references(snapshot: Snapshot) -> None:
    """What the lines name is there, and belongs there."""
    for listener in snapshot.listeners:
        assert listener is None or snapshot.pools[listener.pool] is not None, listener
    for pool in snapshot.pools:
        if pool is not None:
            assert set(pool.schedule) <= set(pool.eligible), pool
            for number in pool.eligible:
                endpoint = snapshot.endpoints[number]
                assert endpoint is not None, pool
                assert endpoint.pool == pool.name, pool
    for table in (snapshot.listeners, snapshot.pools, snapshot.endpoints):
        assert not table or table[-1] is not None, "a table ends in a free id"
