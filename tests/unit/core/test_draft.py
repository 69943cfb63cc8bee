"""The lines of a snapshot: what the model says, in the data path's numbers."""

from typing import Any

import pytest

from lb.core.draft import Draft, milliseconds
from lb.core.state import EndpointState, ListenerState, PoolState
from lb.model.endpoint import EndpointKey
from lb.model.listener import Keepalive, Listener, TcpOptions, Timeouts
from lb.model.pool import ConnectRule, HashRule, Policy
from lb.model.snapshot import EndpointLine, ListenerLine, PoolLine
from tests.support.configurations import address, endpoint, pool


def owner(policy: Policy = Policy.ROUND_ROBIN) -> PoolState:
    return PoolState(2, pool("web", "a b", policy=policy, connect=ConnectRule(0.25, 5)))


def member(number: int, weight: int = 1) -> EndpointState:
    name = f"e{number}"
    made = endpoint(name, weight=99, sessions_max=40)
    return EndpointState(number, EndpointKey("web", name), owner(), made, weight)


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
    heavy.weight = heavy.share = 1
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


def hashed(policy: Policy, weights: dict[str, int], **rule: Any) -> PoolLine:
    """The line of a pool whose members have these weights now, and of which the first alone is eligible."""
    made = PoolState(2, pool("web", " ".join(weights), policy=policy, hash=HashRule(**rule)))
    for number, (name, weight) in enumerate(weights.items()):
        key = EndpointKey("web", name)
        made.endpoints[name] = EndpointState(number, key, made, endpoint(name), weight)
    draft = Draft()
    draft.put_pool(made, [next(iter(made.endpoints.values()))])
    snapshot = draft.seal(1)
    assert snapshot is not None
    line = snapshot.pools[2]
    assert line is not None
    return line


def test_draft_of_a_pool_that_hashes_names_all_that_have_a_weight_in_order_of_the_names() -> None:
    line = hashed(Policy.MAGLEV, {"c": 4, "a": 2, "d": 0, "b": 6}, table=101, bound_percent=125)
    assert (line.eligible, line.schedule) == ((0,), ())
    assert line.hash is not None
    assert line.hash.members == ((1, "a", 2), (3, "b", 6), (0, "c", 4))
    assert (line.hash.size, line.hash.bound_percent) == (101, 125)


def test_draft_of_a_pool_by_source_hash_has_an_entry_for_each_unit_of_reduced_weight() -> None:
    line = hashed(Policy.SOURCE_HASH, {"c": 4, "a": 2, "d": 0, "b": 6}, table=101)
    assert line.hash is not None
    assert line.hash.members == ((1, "a", 1), (3, "b", 3), (0, "c", 2))
    assert line.hash.size == 0


def test_draft_of_a_pool_that_hashes_has_a_key_of_16_bytes_of_any_secret() -> None:
    keys = [hashed(Policy.MAGLEV, {"a": 1}, key=key).hash for key in ("", "secret", "secret", "x" * 255)]
    found = [table.key for table in keys if table is not None]
    assert {len(key) for key in found} == {16}
    assert found[1] == found[2] and len(set(found)) == 3


def test_draft_of_a_pool_that_hashes_and_has_no_weight_left_has_no_members() -> None:
    for policy in (Policy.MAGLEV, Policy.SOURCE_HASH):
        line = hashed(policy, {"a": 0})
        assert line.hash is not None and line.hash.members == ()


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
