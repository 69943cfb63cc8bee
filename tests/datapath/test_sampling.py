"""In a flood the access log is a sample: bounded, spread over the flood, and what is left out is counted."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lb._ext.record import sampled
from tests.support.engine_bench import snapshot_of

if TYPE_CHECKING:
    from conftest import Scene

SECOND_NS = 10**9


def flood(per_second: int, seconds: int) -> list[int]:
    """Evenly spread, from a full second on."""
    return [
        100 * SECOND_NS + second * SECOND_NS + number * SECOND_NS // per_second
        for second in range(seconds)
        for number in range(per_second)
    ]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.lists(st.integers(0, 400), min_size=1, max_size=8))
def test_sample_has_no_more_lines_in_a_second_than_it_may(rate_max: int, floods: list[int]) -> None:
    ended_ns = [second * SECOND_NS + at for second, count in enumerate(floods, 1) for at in range(count)]
    lines = Counter(
        at // SECOND_NS for at, kept in zip(ended_ns, sampled(rate_max, ended_ns), strict=True) if kept
    )
    for second, count in enumerate(floods, 1):
        assert lines[second] <= rate_max
        before = floods[second - 2] if second > 1 else 0
        if count <= rate_max and before <= rate_max:
            assert lines[second] == count, "nothing is left out where there is no flood"


def test_sample_is_spread_over_each_second_of_a_flood() -> None:
    """100 of 5000: each tenth of a second has some of its lines, but in the first one."""
    ended_ns = flood(5000, 20)
    kept = [at for at, is_kept in zip(ended_ns, sampled(100, ended_ns), strict=True) if is_kept]
    tenths = Counter((at // SECOND_NS, at % SECOND_NS // (SECOND_NS // 10)) for at in kept)
    later = range(101, 120)
    assert min(sum(tenths[second, tenth] for second in later) for tenth in range(10)) > 50
    assert all(60 <= sum(tenths[second, tenth] for tenth in range(10)) <= 100 for second in later)


def test_sample_takes_up_everything_again_when_the_flood_is_over() -> None:
    assert all(sampled(100, flood(100, 3)))
    after = [at + 10 * SECOND_NS for at in flood(50, 2)]
    assert all(sampled(100, flood(3000, 3) + after)[9000:])


def test_lines_and_what_they_say_was_left_out_add_up_to_all_sessions(scene: Scene) -> None:
    bench = scene.bench(replace(snapshot_of([]), access_rate_max=20))
    for _ in range(300):
        assert scene.is_reset(bench.address)
    scene.empty(bench)
    records = records_so_far(bench)
    missing = bench.board.worker(0).access_sampled_out_total
    assert (len(records) + missing, bench.board.worker(0).access_dropped_total) == (300, 0)
    assert missing > 0
    told = sum(record.get("left_out", 0) for record in records)
    bench.call(bench.publish, replace(snapshot_of([], generation=2), access_rate_max=0))
    assert scene.is_reset(bench.address)
    assert told + scene.record(bench).get("left_out", 0) == missing
    assert scene.is_reset(bench.address)
    assert "left_out" not in scene.record(bench)


def records_so_far(bench: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in bench.lines()]
