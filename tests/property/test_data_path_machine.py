"""Any order of openings, bytes, ends, resets, stalls and reloads: hypothesis looks for one that breaks a law.

The laws stand in tests/support/played_world.py. Worlds differ in their pipes, buffers and policy, which are
drawn first. LB_E2E_SCALE=full: many more examples, and longer ones.
"""

from __future__ import annotations

import enum
import json
from collections import Counter
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from lb.model.pool import Policy
from tests.support.played_world import Session, Settings, World
from tests.support.scale import Scale

WITHIN_S = 3600.0
ENDPOINTS = 3
SESSIONS_MAX = 24
POLICIES = (
    Policy.ROUND_ROBIN,
    Policy.LEAST_CONNECTIONS,
    Policy.RANDOM,
    Policy.POWER_OF_TWO,
    Policy.PEAK_EWMA,
)

# 0: as the kernel chooses. With a few KiB the kernel waits 40 ms for each window.
buffers = st.sampled_from([0, 0, 65_536])
sizes = st.one_of(
    st.integers(1, 100), st.integers(1, 1 << 20), st.sampled_from([16_383, 16_384, 16_385, 65_536, 1 << 20])
)
eligible = st.sampled_from([(0, 1, 2), (0, 1, 2), (0,), (1, 2), (0, 2), ()])
limits = st.sampled_from([0, 0, 0, 1, 2, 5])
places = st.integers(0, SESSIONS_MAX)
upstream = st.booleans()


class Act(enum.Enum):
    """What an end of a session does."""

    SEND = enum.auto()
    FINISH = enum.auto()
    RESET = enum.auto()
    STALL = enum.auto()
    RESUME = enum.auto()


class DataPath(RuleBasedStateMachine):
    """Rules pick a session by its place among those that live. `closed`: all sessions' ends, by reason."""

    worlds: ClassVar[int] = 0
    closed: ClassVar[Counter[str]] = Counter()
    world: World

    @initialize(
        pipes_max=st.sampled_from([0, 1, 16]),
        receive_bytes=st.tuples(buffers, buffers, buffers),
        policy=st.sampled_from(POLICIES),
    )
    def begin(self, pipes_max: int, receive_bytes: tuple[int, ...], policy: Policy) -> None:
        everybody = tuple(range(ENDPOINTS))
        self.world = World(
            Settings(everybody, (1,) * ENDPOINTS, policy), pipes_max=pipes_max, receive_bytes=receive_bytes
        )

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.world.end()
            type(self).worlds += 1
            self.closed.update(self.world.closed)
        finally:
            self.world.close()

    # ---- Sessions ----

    @rule(receive_bytes=buffers, planned=st.lists(sizes, min_size=1, max_size=5))
    def open(self, receive_bytes: int, planned: list[int]) -> None:
        """As many clients as there are sizes; each sends so much."""
        for size in planned[: SESSIONS_MAX - len(self.world.sessions)]:
            self.world.open(receive_bytes=receive_bytes).client.plan(size)

    @precondition(lambda self: self.world.sessions)
    @rule(place=places, upstream=upstream, size=sizes)
    def send(self, place: int, upstream: bool, size: int) -> None:
        self.act(Act.SEND, place, upstream, size)

    @precondition(lambda self: self.world.sessions)
    @rule(place=places, upstream=upstream)
    def finish(self, place: int, upstream: bool) -> None:
        self.act(Act.FINISH, place, upstream, 0)

    @precondition(lambda self: self.world.sessions)
    @rule(place=places, upstream=upstream)
    def reset(self, place: int, upstream: bool) -> None:
        self.act(Act.RESET, place, upstream, 0)

    @precondition(lambda self: self.world.sessions)
    @rule(place=places, upstream=upstream)
    def stall(self, place: int, upstream: bool) -> None:
        self.act(Act.STALL, place, upstream, 0)

    @precondition(lambda self: self.world.sessions)
    @rule(place=places, upstream=upstream)
    def resume(self, place: int, upstream: bool) -> None:
        self.act(Act.RESUME, place, upstream, 0)

    @precondition(lambda self: self.world.sessions)
    @rule(acts=st.lists(st.tuples(st.sampled_from(Act), places, upstream, sizes), min_size=2, max_size=12))
    def much_at_once(self, acts: list[tuple[Act, int, bool, int]]) -> None:
        """Before the engine's next turn: it finds bytes, ends and resets together."""
        for act, place, upstream, size in acts:
            self.act(act, place, upstream, size)

    def act(self, act: Act, place: int, upstream: bool, size: int) -> None:
        session = self.session(place)
        side = session.sides[upstream]
        match act:
            case Act.SEND:
                side.plan(size)
                side.play()
            case Act.FINISH:
                side.finishes = True
                side.play()
            case Act.RESET:
                self.world.reset(session, side)
            case Act.STALL | Act.RESUME:
                side.stalled = act is Act.STALL

    # ---- Orders of the supervisor ----

    @rule(eligible=eligible)
    def endpoints_come_and_go(self, eligible: tuple[int, ...]) -> None:
        self.world.reload(eligible=eligible)

    @rule(
        weights=st.tuples(*[st.integers(1, 5)] * ENDPOINTS),
        policy=st.sampled_from(POLICIES),
        sessions_max=limits,
        endpoint_sessions_max=limits,
        queue_max=limits,
    )
    def reload(
        self,
        weights: tuple[int, ...],
        policy: Policy,
        sessions_max: int,
        endpoint_sessions_max: int,
        queue_max: int,
    ) -> None:
        self.world.reload(
            weights=weights,
            policy=policy,
            sessions_max=sessions_max,
            endpoint_sessions_max=endpoint_sessions_max,
            queue_max=queue_max,
        )

    @rule(
        endpoint=st.integers(0, ENDPOINTS - 1),
        reason=st.sampled_from(["drained", "endpoint_down", "operator"]),
    )
    def close_sessions(self, endpoint: int, reason: str) -> None:
        self.world.close_sessions(endpoint, reason)

    # ---- Endpoints ----

    @rule(endpoint=st.integers(0, ENDPOINTS - 1))
    def port_closes(self, endpoint: int) -> None:
        self.world.endpoints[endpoint].close()
        self.world.note_chances()

    @rule(endpoint=st.integers(0, ENDPOINTS - 1))
    def port_opens(self, endpoint: int) -> None:
        self.world.endpoints[endpoint].open()

    # ---- What holds ----

    @invariant()
    def laws_hold(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()
            self.world.check()
            self.world.check_gauges()

    def session(self, place: int) -> Session:
        """Of those that live, as long as some do; which these are is no matter of the rules' choice."""
        living = [one for one in self.world.sessions if one.record is None] or self.world.sessions
        return living[place % len(living)]


@pytest.mark.timeout(WITHIN_S)
def test_data_path_keeps_its_laws_whatever_happens_in_whatever_order() -> None:
    DataPath.closed.clear()
    run_state_machine_as_test(
        DataPath,
        settings=settings(
            max_examples=Scale.wanted().of(full=3000, ci=60),
            stateful_step_count=Scale.wanted().of(full=60, ci=30),
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
    print(
        json.dumps(
            {"worlds": DataPath.worlds, "sessions": DataPath.closed.total(), "by_reason": DataPath.closed}
        )
    )
    assert {"done", "client_reset", "endpoint_reset"} <= DataPath.closed.keys(), "it plays too little"
