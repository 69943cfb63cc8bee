"""Which measurements are made, in which order, at which rate, and how long that takes."""

from collections import Counter

import pytest

from bench.compare import plan
from bench.compare.workload import WORKLOADS, named
from bench.peers import PEERS, find
from bench.peers.peer import Peer

ALL = list(WORKLOADS.values())
EVERYBODY = list(PEERS.values())


def peer(name: str) -> Peer:
    return Peer(name, lambda setup: [], lambda: "1.0")


def names(peers: list[Peer]) -> str:
    return "".join(each.name for each in peers)


def test_order_turns_with_the_rounds() -> None:
    peers = [peer(name) for name in "abc"]
    orders = [names(plan.order(peers, number)) for number in range(1, 7)]
    assert orders == ["abc", "cba", "bca", "acb", "cab", "bac"]


def test_order_over_many_rounds_puts_each_peer_at_each_place_equally_often() -> None:
    peers = [peer(name) for name in "abcd"]
    places = Counter(
        (each.name, place) for number in range(1, 9) for place, each in enumerate(plan.order(peers, number))
    )
    assert set(places.values()) == {2}


def test_slots_of_a_workload_stand_together_in_a_round() -> None:
    slots = list(plan.slots(named("messages"), [PEERS["lb"], PEERS["nginx"]], [True], 2))
    assert [(slot.round, slot.workload.name, slot.peer) for slot in slots[:4]] == [
        (1, "messages-1", "lb"),
        (1, "messages-1", "nginx"),
        (1, "messages-64", "lb"),
        (1, "messages-64", "nginx"),
    ]
    assert len(slots) == 12


def test_slots_of_both_logs_are_of_one_round() -> None:
    slots = list(plan.slots(named("connect"), [PEERS["lb"]], [True, False], 1))
    assert [(slot.round, slot.logged) for slot in slots] == [(1, True), (1, False)]


@pytest.mark.parametrize(
    ("name", "workload", "logged", "expected"),
    [
        ("haproxy-splice", "bulk-1", True, True),
        ("haproxy-splice", "connect", True, False),
        ("nginx-buffered", "connect", True, True),
        ("nginx-buffered", "connect", False, False),
        ("direct", "latency-connect", True, True),
        ("direct", "connect", True, False),
        ("direct", "idle", True, False),
        ("nginx", "workers-2", True, False),
        ("lb", "workers-2", True, True),
        ("lb=.", "workers-2", True, True),
    ],
)
def test_peer_takes_part_where_it_differs(name: str, workload: str, logged: bool, expected: bool) -> None:
    found = find(name)
    assert found is not None
    assert plan.takes_part(found, WORKLOADS[workload], logged) is expected


def test_what_hardly_varies_is_measured_in_few_rounds() -> None:
    slots = plan.slots(named("idle"), [PEERS["lb"]], [True], 10)
    assert [slot.round for slot in slots] == [1, 2]


def test_calibration_is_of_each_proxy_once() -> None:
    found = plan.calibrations(ALL, [PEERS["lb"], PEERS["envoy"], PEERS["direct"]], True)
    assert sorted((slot.workload.name, slot.peer) for slot in found) == [
        ("connect", "envoy"),
        ("connect", "lb"),
        ("messages-64", "envoy"),
        ("messages-64", "lb"),
    ]
    assert plan.calibrations(named("bulk"), EVERYBODY, True) == []


def test_rate_is_a_share_of_the_slowest_that_takes_part() -> None:
    calibrated = [
        {"workload": "connect", "peer": "lb", "rate": 30_000.0},
        {"workload": "connect", "peer": "envoy", "rate": 14_000.0},
        {"workload": "messages-64", "peer": "envoy", "rate": 1.0},
        {"workload": "connect", "peer": "nginx", "failed": "did not start"},
    ]
    assert plan.rate_of(WORKLOADS["latency-connect"], EVERYBODY, calibrated) == 7000
    assert plan.rate_of(WORKLOADS["workers-1"], EVERYBODY, calibrated) == 7500
    assert plan.rate_of(WORKLOADS["active-idle"], EVERYBODY, calibrated) == 0


def test_whole_run_with_the_log_on_takes_less_than_35_minutes() -> None:
    slots = list(plan.slots(ALL, EVERYBODY, [True], 10))
    calibrations = plan.calibrations(ALL, EVERYBODY, True)
    assert plan.estimate_s(slots, calibrations, 2.5) < 35 * 60


def test_workload_is_found_by_name_or_by_the_first_part_of_it() -> None:
    assert [workload.name for workload in named("connect")] == ["connect"]
    assert [workload.name for workload in named("bulk")] == ["bulk-1", "bulk-4"]
    assert named("bul") == []
