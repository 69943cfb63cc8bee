"""The lines of a snapshot: what the model says, in the data path's numbers."""

import pytest

from lb.core.draft import Draft, milliseconds
from lb.core.state import EndpointState, ListenerState, PoolState
from lb.model.endpoint import EndpointKey
from lb.model.listener import Keepalive, Listener, TcpOptions, Timeouts
from lb.model.pool import ConnectRule, Policy
from lb.model.snapshot import EndpointLine, ListenerLine, PoolLine
from tests.support.configurations import address, endpoint, pool


def owner(policy: Policy = Policy.ROUND_ROBIN) -> PoolState:
    return PoolState(2, pool("web", "a b", policy=policy, connect=ConnectRule(0.25, 5)))


def member(number: int, weight: int = 1) -> EndpointState:
    name = f"e{number}"
    made = endpoint(name, weight=99, sessions_max=40)
    return EndpointState(number, EndpointKey("web", name), owner(), made, None, weight)


def test_draft_of_an_endpoint_bears_the_weight_that_holds_now() -> None:
    draft = Draft()
    draft.put_endpoint(member(0, weight=7))
    snapshot = draft.seal(1)
    assert snapshot is not None
    assert snapshot.endpoints == (EndpointLine("e0", "web", address("e0"), 7, 40),)


def test_draft_of_a_pool_has_the_schedule_of_its_weights() -> None:
    draft = Draft()
    draft.put_pool(owner(), [member(4, weight=3), member(1, weight=1)])
    snapshot = draft.seal(1)
    assert snapshot is not None
    line = PoolLine("web", Policy.ROUND_ROBIN, 250, 5, eligible=(4, 1), schedule=(4, 4, 1, 4))
    assert snapshot.pools == (None, None, line)


def test_draft_of_a_pool_follows_a_weight_that_changed() -> None:
    draft, heavy, light = Draft(), member(4, weight=3), member(1)
    draft.put_pool(owner(), [heavy, light])
    heavy.weight = 1
    draft.put_pool(owner(), [heavy, light])
    snapshot = draft.seal(1)
    assert snapshot is not None
    line = snapshot.pools[2]
    assert line is not None
    assert line.schedule == (4, 1)


def test_draft_of_a_pool_of_least_connections_has_no_schedule() -> None:
    draft = Draft()
    draft.put_pool(owner(Policy.LEAST_CONNECTIONS), [member(4, weight=3), member(1)])
    snapshot = draft.seal(1)
    assert snapshot is not None
    line = snapshot.pools[2]
    assert line is not None
    assert (line.eligible, line.schedule) == ((4, 1), ())


def test_draft_of_a_listener_is_in_milliseconds() -> None:
    draft = Draft()
    timeouts = Timeouts(idle_s=1.5, half_close_s=0.0, reset_linger_s=0.0001)
    rest = {"timeouts": timeouts, "tcp": TcpOptions(keepalive=Keepalive(3, 2, 1))}
    draft.put_listener(ListenerState(0, Listener("x", (), "web", 9, **rest)), pool_id=2)  # type: ignore[arg-type]
    snapshot = draft.seal(1)
    assert snapshot is not None
    assert snapshot.listeners == (ListenerLine("x", 2, 9, 1500, 0, 1, (3, 2, 1)),)


def test_draft_of_a_listener_without_keepalive_has_zeros() -> None:
    draft = Draft()
    draft.put_listener(ListenerState(0, Listener("x", (), "web", tcp=TcpOptions(keepalive=None))), pool_id=2)
    snapshot = draft.seal(1)
    assert snapshot is not None
    line = snapshot.listeners[0]
    assert line is not None
    assert line.keepalive_s == (0, 0, 0)


@pytest.mark.parametrize(("seconds", "expected"), [(0.0, 0), (0.0001, 1), (0.0015, 2), (1.2, 1200)])
def test_milliseconds_never_round_something_to_nothing(seconds: float, expected: int) -> None:
    assert milliseconds(seconds) == expected


def test_draft_is_sealed_first_even_if_empty_and_then_only_if_it_differs() -> None:
    draft = Draft()
    assert draft.seal(1) is not None
    assert draft.seal(2) is None
    draft.put_endpoint(member(0))
    assert draft.seal(2) is not None
    draft.put_endpoint(member(0))
    assert draft.seal(3) is None


def test_draft_that_changed_and_changed_back_is_not_sealed() -> None:
    draft = Draft()
    draft.seal(1)
    draft.put_endpoint(member(0))
    draft.take_endpoint(member(0))
    assert draft.seal(2) is None
