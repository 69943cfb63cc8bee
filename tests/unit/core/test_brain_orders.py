"""Orders: obeyed whole, refused whole, recorded with who gave them."""

import pytest

from lb.core.brain import Brain, OrderRefused, UnknownEndpoint
from lb.core.commands import PublishSnapshot
from lb.core.events import ConfigLoaded, OperatorOrdered
from lb.model.cause import Cause
from lb.model.endpoint import WEIGHT_MAX, Admin
from tests.support.configurations import config, key, pool
from tests.support.playbook import Playbook

A = key("web/a")


def serving() -> Playbook:
    play = Playbook(Brain(1))
    assert play >> ConfigLoaded(config(pool("web", "a b"))) << PublishSnapshot
    return play


def test_order_is_recorded_with_who_gave_it() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, Admin.DRAIN, who="uid 1000") << PublishSnapshot
    [record] = play.recorded("endpoint_changed", axis="admin")
    assert record.facts == {
        "pool": "web",
        "endpoint": "a",
        "id": 0,
        "axis": "admin",
        "from": "READY",
        "to": "DRAIN",
        "cause": "OPERATOR",
        "evidence": "ordered by uid 1000",
    }


def test_order_of_admin_and_weight_together_is_published_once() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, Admin.MAINT, weight=0) << PublishSnapshot
    assert len(play.recorded("endpoint_changed", endpoint="a")) == 3


def test_order_of_what_is_already_so_changes_nothing() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, Admin.READY, weight=1)
    assert not play.records


def test_weight_ordered_changes_the_schedule() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, weight=3) << PublishSnapshot
    line = play.snapshot.pools[0]
    assert line is not None
    assert line.schedule == (0, 0, 1, 0)


def test_weight_0_takes_no_new_sessions_and_starts_no_drain() -> None:
    play = serving()
    assert play >> OperatorOrdered(A, weight=0) << PublishSnapshot >> 3600.0
    assert play.eligible("web") == "b"
    assert play >> OperatorOrdered(A, weight=2) << PublishSnapshot
    assert play.eligible("web") == "a b"


@pytest.mark.parametrize("name", ["web/nobody", "nowhere/a"])
def test_order_for_an_endpoint_that_is_not_there_is_unknown(name: str) -> None:
    with pytest.raises(UnknownEndpoint, match=f"there is no endpoint {name}"):
        serving() >> OperatorOrdered(key(name), Admin.DRAIN)


@pytest.mark.parametrize(
    ("order", "why"),
    [
        (OperatorOrdered(A), "nothing is ordered"),
        (OperatorOrdered(A, Admin.DRAIN, weight=-1), "a weight is 0 to 256"),
        (OperatorOrdered(A, Admin.DRAIN, weight=WEIGHT_MAX + 1), "a weight is 0 to 256"),
        (OperatorOrdered(A, Admin.DRAIN, cause=Cause.PROBE), "no cause of an order"),
    ],
)
def test_order_that_makes_no_sense_is_refused_and_changes_nothing(order: OperatorOrdered, why: str) -> None:
    play = serving()
    before = play.brain.endpoints()
    with pytest.raises(OrderRefused, match=why):
        play >> order
    assert play.brain.endpoints() == before
    assert play >> 1.0


def test_order_for_a_removed_endpoint_is_unknown() -> None:
    play = serving()
    assert play >> ConfigLoaded(config(pool("web", "b"))) << PublishSnapshot
    with pytest.raises(UnknownEndpoint):
        play >> OperatorOrdered(A, Admin.READY)
