"""Any history of reloads, results, orders and counts, and the laws that none of them may break."""

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from lb.core.brain import Brain
from lb.core.commands import (
    CancelProbe,
    Command,
    CountSessions,
    Emit,
    ForgetEndpoint,
    ForgetListener,
    PublishSnapshot,
    StartProbe,
    WakeAt,
)
from lb.core.drains import TAKEN_UP_S
from lb.core.events import (
    ConfigLoaded,
    Event,
    OperatorOrdered,
    ProbeFinished,
    SessionsCounted,
    SessionsFailed,
    Tick,
)
from lb.core.publication import PUBLISH_GAP_S
from lb.model.check import Check, ProbeResult
from lb.model.config import Config
from lb.model.endpoint import Admin, EndpointKey, Health
from lb.model.pool import Policy
from lb.model.snapshot import ListenerLine, PoolLine, Snapshot
from tests.support.configurations import FAILED, PASSED, config, endpoint, listener, pool
from tests.support.simulation import check_references, eligible_lines

POOLS = ("web", "api")
CHECKS = (None, Check(), Check(initial_up=False), Check(rise=1, fall=1, port=99))
results = st.sampled_from([PASSED, FAILED])


@st.composite
def endpoints(draw: st.DrawFn) -> Any:
    names = draw(st.lists(st.sampled_from("abcd"), unique=True, max_size=4))
    hosts = st.sampled_from(["10.0.0.1", "10.0.0.2"])
    weights, admins = st.sampled_from([0, 1, 1, 3]), st.sampled_from([Admin.READY, *Admin])
    return tuple(endpoint(name, host=draw(hosts), weight=draw(weights), admin=draw(admins)) for name in names)


@st.composite
def configurations(draw: st.DrawFn) -> Config:
    names = draw(st.lists(st.sampled_from(POOLS), unique=True, min_size=1))
    pools = [
        pool(
            name,
            draw(endpoints()),
            check=draw(st.sampled_from(CHECKS)),
            policy=draw(st.sampled_from(Policy)),
            drain_s=draw(st.sampled_from([0.0, 3.0, 60.0])),
            close_after_s=draw(st.sampled_from([None, 0.0, 5.0])),
        )
        for name in names
    ]
    named = draw(st.lists(st.sampled_from("xy"), unique=True))
    listeners = [listener(name, pool=draw(st.sampled_from(names)), port=ord(name)) for name in named]
    return config(*pools, listeners=tuple(listeners))


def pool_of(snapshot: Snapshot, listener_line: ListenerLine) -> PoolLine:
    line = snapshot.pools[listener_line.pool]
    assert line is not None
    return line


@dataclass
class Replayed:
    """An endpoint as its records tell it, from its birth."""

    health: str = "UNKNOWN"
    admin: str = "READY"
    weight: int = -1
    eligible: bool = False


class BrainMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.brain, self.now = Brain(1), 0.0
        self.running: dict[int, StartProbe] = {}
        self.wake_s: float | None = None
        self.snapshot: Snapshot | None = None
        self.published_s = 0.0
        self.slow: list[tuple[float, Snapshot]] = []  # and when they were replaced
        self.counts_asked = 0
        self.replayed: dict[int, Replayed] = {}
        self.open_endpoints: dict[int, int] = {}
        self.open_listeners: dict[int, int] = {}
        self.keys: dict[int, EndpointKey] = {}

    # ---- What happens --------------------------------------------------------------------------------

    @initialize(loaded=configurations())
    def start(self, loaded: Config) -> None:
        self.handle(ConfigLoaded(loaded))

    @rule(loaded=configurations())
    def reload(self, loaded: Config) -> None:
        self.handle(ConfigLoaded(loaded))

    @rule()
    def reload_what_is(self) -> None:
        assert self.brain.config is not None
        generation = self.brain.generation
        pending = self.publication_waits()
        commands = self.handle(ConfigLoaded(replace(self.brain.config)))
        assert pending or self.brain.generation == generation
        assert pending or [type(each) for each in commands if not isinstance(each, WakeAt)] == [Emit]

    @precondition(lambda self: self.running)
    @rule(data=st.data(), result=results, late=st.booleans())
    def finish_probe(self, data: st.DataObject, result: ProbeResult, late: bool) -> None:
        started = self.running.pop(data.draw(st.sampled_from(sorted(self.running))))
        self.handle(ProbeFinished(started.probe, started.key, result, late))

    @rule(probe=st.integers(0, 5), result=results)
    def finish_probe_that_is_over(self, probe: int, result: ProbeResult) -> None:
        if probe not in self.running:
            before = [(each.health, [one.streak for one in each.checks]) for each in self.brain.endpoints()]
            self.handle(ProbeFinished(probe, EndpointKey("web", "a"), result))
            assert [
                (each.health, [one.streak for one in each.checks]) for each in self.brain.endpoints()
            ] == before

    @rule(number=st.integers(0, 6))
    def fail_connections(self, number: int) -> None:
        before = [(each.id, each.health) for each in self.brain.endpoints()]
        self.handle(SessionsFailed(number, {"refused": 1}))
        assert [(each.id, each.health) for each in self.brain.endpoints()] == before

    @precondition(lambda self: any(not each.removed for each in self.brain.endpoints()))
    @rule(data=st.data(), admin=st.sampled_from(Admin), weight=st.sampled_from([None, 0, 1, 2]))
    def order(self, data: st.DataObject, admin: Admin, weight: int | None) -> None:
        keys = [each.key for each in self.brain.endpoints() if not each.removed]
        self.handle(OperatorOrdered(data.draw(st.sampled_from(keys)), admin, weight))

    @rule(seconds=st.sampled_from([0.001, 0.1, 1.0, 30.0]))
    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(10_000):
            if self.wake_s is None or self.wake_s > until:
                self.now = until
                return
            self.now, self.wake_s = max(self.now, self.wake_s), None
            self.handle(Tick())
        raise AssertionError("the brain wakes for ever")

    @rule()
    def tick_too_early(self) -> None:
        self.wake_s = None
        self.handle(Tick())

    @precondition(lambda self: self.counts_asked)
    @rule()
    def count(self) -> None:
        self.counts_asked -= 1
        self.handle(SessionsCounted(dict(self.open_endpoints), dict(self.open_listeners)))

    @rule()
    def count_unasked(self) -> None:
        self.handle(SessionsCounted(dict(self.open_endpoints), dict(self.open_listeners)))

    @precondition(lambda self: self.snapshot is not None)
    @rule(data=st.data(), at_once=st.booleans())
    def open_a_session(self, data: st.DataObject, at_once: bool) -> None:
        """In a worker that has the last snapshot, or in one that is slow to take it up."""
        assert self.snapshot is not None
        snapshot = self.snapshot if at_once or not self.slow else data.draw(st.sampled_from(self.slow))[1]
        ways = [
            (number, endpoint_id)
            for number, line in enumerate(snapshot.listeners)
            if line is not None
            for endpoint_id in pool_of(snapshot, line).eligible
        ]
        if ways:
            number, endpoint_id = data.draw(st.sampled_from(ways))
            self.open_endpoints[endpoint_id] = self.open_endpoints.get(endpoint_id, 0) + 1
            self.open_listeners[number] = self.open_listeners.get(number, 0) + 1

    @rule()
    def end_all_sessions(self) -> None:
        self.open_endpoints.clear()
        self.open_listeners.clear()

    # ---- What is done about it -----------------------------------------------------------------------

    def handle(self, event: Event) -> list[Command]:
        commands = self.brain.handle(event, self.now)
        for command in commands:
            self.perform(command)
        self.check_records()
        return commands

    def perform(self, command: Command) -> None:
        match command:
            case StartProbe():
                self.running[command.probe] = command
            case CancelProbe(number):
                del self.running[number]
            case WakeAt(at_s):
                self.wake_s = at_s
            case CountSessions():
                self.counts_asked += 1
            case PublishSnapshot(snapshot):
                last = self.snapshot
                assert snapshot.generation == (last.generation + 1 if last else 1)
                assert last is None or replace(snapshot, generation=0) != replace(last, generation=0)
                if last is not None:
                    self.slow.append((self.now, last))
                self.snapshot, self.published_s = snapshot, self.now
            case ForgetEndpoint(number, key):
                assert not self.open_endpoints.get(number), "forgotten with sessions"
                assert self.keys.pop(number) == key
                del self.replayed[number]
            case ForgetListener(number, _):
                assert not self.open_listeners.get(number), "forgotten with sessions"
            case Emit(record):
                self.replay(record.event, record.facts)

    def replay(self, event: str, facts: dict[str, Any]) -> None:
        if event == "endpoint_added":
            assert facts["back"] == (facts["id"] in self.replayed), "an id was given twice"
            self.replayed.setdefault(facts["id"], Replayed()).weight = facts["weight"]
            self.keys[facts["id"]] = EndpointKey(facts["pool"], facts["endpoint"])
        elif event == "endpoint_changed" and facts["id"] in self.replayed:
            replayed = self.replayed[facts["id"]]
            assert getattr(replayed, facts["axis"]) == facts["from"], facts
            assert facts["from"] != facts["to"], facts
            setattr(replayed, facts["axis"], facts["to"])

    def check_records(self) -> None:
        """The records tell the whole state. That none tells a change twice is seen as they are replayed."""
        for each in self.brain.endpoints():
            replayed = self.replayed[each.id]
            told = (replayed.health, replayed.admin, replayed.weight, replayed.eligible)
            assert told == (each.health.value, each.admin.value, each.weight, each.eligible), each

    def publication_waits(self) -> bool:
        return self.now < self.published_s + PUBLISH_GAP_S

    # ---- The laws ------------------------------------------------------------------------------------

    @invariant()
    def ids_are_held_once(self) -> None:
        views = self.brain.endpoints()
        assert len({each.id for each in views}) == len(views)
        for ids in (self.brain.listener_ids, self.brain.pool_ids):
            assert len(set(ids.values())) == len(ids)

    @invariant()
    def probes_run_once_for_those_who_want_them(self) -> None:
        running = [(each.key, each.check) for each in self.running.values()]
        assert len(set(running)) == len(running)
        for each in self.brain.endpoints():
            wanted = each.admin is not Admin.MAINT and not each.removed
            for one in each.checks:
                runs = not each.removed and (each.key, one.check) in running
                assert runs + (one.next_run_s is not None) == wanted, each

    @invariant()
    def eligible_are_those_it_should_be(self) -> None:
        if self.brain.config is None or self.publication_waits():
            return
        for each in self.brain.endpoints():
            fit = each.admin is Admin.READY and each.weight > 0 and not each.removed
            assert not each.eligible or (fit and each.health is not Health.DOWN), each
            assert not fit or each.health is not Health.UP or each.eligible, each

    @invariant()
    def snapshot_says_what_the_brain_says(self) -> None:
        if self.snapshot is None or self.publication_waits():
            return
        assert self.brain.generation == self.snapshot.generation
        check_references(self.snapshot)
        views = {each.id: each for each in self.brain.endpoints()}
        lines = {number: line for number, line in enumerate(self.snapshot.endpoints) if line is not None}
        assert lines.keys() == views.keys()
        assert all(
            (lines[n].name, lines[n].address) == (views[n].key.endpoint, views[n].address) for n in lines
        )
        for name in self.brain.pool_ids:
            names = sorted(line.name for line in eligible_lines(self.snapshot, name))
            assert names == sorted(
                v.key.endpoint for v in views.values() if v.eligible and v.key.pool == name
            )

    @invariant()
    def ids_are_not_freed_while_a_slow_worker_goes_by_them(self) -> None:
        self.slow = [(at_s, old) for at_s, old in self.slow if self.now < at_s + TAKEN_UP_S]
        for _, old in self.slow:
            for line in old.pools:
                for number in line.eligible if line is not None else ():
                    was = old.endpoints[number]
                    assert was is not None
                    assert self.keys.get(number) == (was.pool, was.name)

    @invariant()
    def nobody_removed_outlives_its_drain_in_silence(self) -> None:
        """While something drains the brain asks to be woken."""
        if any(each.removed for each in self.brain.endpoints()):
            assert self.wake_s is not None


TestBrainMachine = BrainMachine.TestCase
TestBrainMachine.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
