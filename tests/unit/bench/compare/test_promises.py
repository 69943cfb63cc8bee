"""When a promise counts as kept, as missed, or as left open by the run."""

from collections.abc import Callable

import pytest

from bench.compare.promises import verdicts
from bench.compare.results import Results


def outcomes(results: Results) -> dict[str, str]:
    return {verdict.promise: verdict.outcome for verdict in verdicts(results, "on")}


@pytest.mark.parametrize(
    ("ours", "outcome"),
    [
        ([9.0, 9.1, 9.2], "kept"),
        ([11.0, 11.1, 11.2], "missed"),
        ([9.0, 10.5, 11.0], "open"),
    ],
)
def test_promise_is_kept_or_missed_only_over_the_whole_interval(
    results_of: Callable[..., Results], ours: list[float], outcome: str
) -> None:
    results = results_of(("connect", "lb", ours), ("connect", "nginx", [10.0] * 3))
    assert outcomes(results) == {"connect: CPU at most 1 times that of nginx": outcome}


def test_promise_is_judged_against_the_best_of_the_others(results_of: Callable[..., Results]) -> None:
    results = results_of(
        ("connect", "lb", [9.0] * 3), ("connect", "envoy", [30.0] * 3), ("connect", "haproxy", [8.0] * 3)
    )
    assert outcomes(results) == {"connect: CPU at most 1 times that of haproxy": "missed"}


def test_promise_for_bulk_distinguishes_splicing_from_copying(results_of: Callable[..., Results]) -> None:
    results = results_of(
        ("bulk-1", "lb", [0.2] * 3),
        ("bulk-1", "haproxy-splice", [0.19] * 3),
        ("bulk-1", "nginx", [0.3] * 3),
    )
    assert outcomes(results) == {
        "bulk-1: CPU at most 1 times that of haproxy-splice": "missed",
        "bulk-1: CPU at most 0.7 times that of nginx": "kept",
    }


def test_promise_for_two_workers_is_about_lb_itself(results_of: Callable[..., Results]) -> None:
    results = results_of(("workers-1", "lb", [30.0] * 3), ("workers-2", "lb", [31.0] * 3))
    assert outcomes(results) == {"two workers over one, CPU per connection: at most 1.1": "kept"}


def test_promise_for_memory_is_a_number_of_bytes(results_of: Callable[..., Results]) -> None:
    results = results_of(("idle", "lb", [513.0]), key="session_bytes")
    assert outcomes(results) == {"an idle session takes at most 512 bytes": "missed"}
