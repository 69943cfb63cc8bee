"""The table of transitions, the one way through it, and what is eligible."""

import itertools

import pytest

from lb.core.state import EndpointState, PoolState
from lb.core.transitions import TRANSITIONS, Axis, IllegalTransition, State, change, eligible
from lb.model.cause import Cause
from lb.model.check import Check
from lb.model.endpoint import Admin, EndpointKey, Health
from tests.support.configurations import endpoint, pool

UNKNOWN, UP, DOWN = Health.UNKNOWN, Health.UP, Health.DOWN
READY, DRAIN, MAINT = Admin.READY, Admin.DRAIN, Admin.MAINT


def make(
    health: Health = UP, admin: Admin = READY, weight: int = 1, check: Check | None = None, name: str = "a"
) -> EndpointState:
    owner = PoolState(0, pool("web", "a", check=check))
    state = EndpointState(0, EndpointKey("web", name), owner, endpoint(name), weight, health, admin)
    state.checked_by = owner.pool.checks
    return state


moves = [
    (before, to, cause)
    for states in (Health, Admin)
    for before, to in itertools.permutations(states, 2)
    for cause in Cause
]


@pytest.mark.parametrize(("before", "to", "cause"), moves)
def test_change_is_made_if_the_table_knows_it_and_raises_otherwise(
    before: State, to: State, cause: Cause
) -> None:
    axis = Axis.HEALTH if isinstance(before, Health) else Axis.ADMIN
    state = make()
    setattr(state, axis.value, before)
    if cause in TRANSITIONS[before].get(to, ()):
        assert change(state, axis, to, cause, "seen", 7.0) is not None
        assert getattr(state, axis.value) is to
        assert state.transitions == {(to.value, cause.value): 1}
    else:
        with pytest.raises(IllegalTransition):
            change(state, axis, to, cause, "seen", 7.0)
        assert getattr(state, axis.value) is before
        assert not state.transitions


def test_change_leaves_a_record_that_says_who_what_and_why() -> None:
    state = make(UP)
    record = change(state, Axis.HEALTH, DOWN, Cause.PROBE, "3 in a row failed: refused", 7.0)
    assert record is not None
    assert (record.event, record.level) == ("endpoint_changed", "warning")
    assert record.facts == {
        "pool": "web",
        "endpoint": "a",
        "id": 0,
        "axis": "health",
        "from": "UP",
        "to": "DOWN",
        "cause": "PROBE",
        "evidence": "3 in a row failed: refused",
    }
    assert state.since_s == 7.0


def test_change_to_what_it_is_leaves_no_record() -> None:
    state = make(UP)
    assert change(state, Axis.HEALTH, UP, Cause.PROBE, "", 7.0) is None
    assert state.since_s == 0.0


def test_change_of_weight_leaves_a_record_and_the_time_of_the_last_state() -> None:
    state = make(UP)
    record = change(state, Axis.WEIGHT, 0, Cause.OPERATOR, "ordered", 7.0)
    assert record is not None
    assert (record.facts["from"], record.facts["to"]) == (1, 0)
    assert state.since_s == 0.0


def test_probes_alone_make_an_endpoint_down() -> None:
    for states in TRANSITIONS.values():
        assert states.get(DOWN, {Cause.PROBE}) == {Cause.PROBE}


@pytest.mark.parametrize(
    ("health", "admin", "weight", "expected"),
    [
        (UP, READY, 1, True),
        (UP, READY, 0, False),
        (UP, DRAIN, 1, False),
        (UP, MAINT, 1, False),
        (DOWN, READY, 1, False),
    ],
)
def test_eligible_needs_up_and_ready_and_a_weight(
    health: Health, admin: Admin, weight: int, expected: bool
) -> None:
    state = make(health, admin, weight, Check())
    assert eligible([state]) == ([state] if expected else [])


def test_eligible_where_one_is_proven_leaves_the_unknown_out() -> None:
    proven, unknown = make(UP, check=Check()), make(UNKNOWN, check=Check(), name="b")
    assert eligible([unknown, proven]) == [proven]


def test_eligible_where_none_is_proven_presumes_the_unknown() -> None:
    unknown, down = make(UNKNOWN, check=Check()), make(DOWN, check=Check(), name="b")
    drained = make(UP, DRAIN, name="c")
    assert eligible([down, unknown, drained]) == [unknown]


@pytest.mark.parametrize(
    "state",
    [make(UNKNOWN, DRAIN, check=Check()), make(UNKNOWN, MAINT, check=Check()), make(UNKNOWN, weight=0)],
)
def test_eligible_presumes_nobody_who_is_not_wanted(state: EndpointState) -> None:
    assert eligible([state]) == []


def test_eligible_with_initial_unknown_waits_for_proof() -> None:
    assert eligible([make(UNKNOWN, check=Check(initial_up=False))]) == []
