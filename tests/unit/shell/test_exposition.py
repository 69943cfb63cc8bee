"""Families as text, read back by prometheus_client."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from lb.shell.counts import Histogram
from lb.shell.exposition import Family, labels


def read(*lines: str) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families("\n".join(lines) + "\n")
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
    }


def test_labels_keep_every_character() -> None:
    hostile = 'a"b\\c\nd{},=é'
    family: Family[int] = Family("gauge", "lb_x", "Help.", lambda value: value)
    assert read(*family.lines([(labels([("pool", hostile)]), 3)])) == {("lb_x", (hostile,)): 3}


def test_family_of_a_mapping_has_a_sample_for_each_key() -> None:
    family: Family[int] = Family(
        "counter", "lb_x_total", "Help.", lambda value: {"in": value, "out": 2}, ("way",)
    )
    assert read(*family.lines([(labels([("pool", "web")]), 1)])) == {
        ("lb_x_total", ("web", "in")): 1,
        ("lb_x_total", ("web", "out")): 2,
    }


def test_family_of_pairs_has_two_labels_of_its_own() -> None:
    family: Family[int] = Family(
        "counter", "lb_x_total", "Help.", lambda value: {("UP", "PROBE"): value}, ("to", "by")
    )
    assert list(family.lines([("", 1)]))[-1] == 'lb_x_total{to="UP",by="PROBE"} 1'


def test_histogram_is_cumulative_with_sum_and_count() -> None:
    family: Family[Histogram] = Family("histogram", "lb_x_seconds", "Help.", lambda value: value)
    histogram = Histogram((0.001, 1.0, 5.0), (1, 2, 3, 4), 6.5)
    assert read(*family.lines([(labels([("pool", "web")]), histogram)])) == {
        ("lb_x_seconds_bucket", ("web", "0.001")): 1,
        ("lb_x_seconds_bucket", ("web", "1.0")): 3,
        ("lb_x_seconds_bucket", ("web", "5.0")): 6,
        ("lb_x_seconds_bucket", ("web", "+Inf")): 10,
        ("lb_x_seconds_sum", ("web",)): 6.5,
        ("lb_x_seconds_count", ("web",)): 10,
    }


def test_family_without_subjects_still_says_what_it_is() -> None:
    family: Family[int] = Family("gauge", "lb_x", "Help.", lambda value: value)
    assert list(family.lines([])) == ["# HELP lb_x Help.", "# TYPE lb_x gauge"]
