"""The picture of a run: well-formed, and as long as the figures say."""

import xml.etree.ElementTree as ElementTree
from collections.abc import Callable

import pytest

from bench.compare import chart
from bench.compare.results import Results

SVG = "{http://www.w3.org/2000/svg}"


def drawn(results: Results) -> ElementTree.Element:
    picture = chart.svg(results)
    assert picture is not None
    return ElementTree.fromstring(picture)


def test_chart_has_a_bar_for_each_peer_and_workload(results_of: Callable[..., Results]) -> None:
    root = drawn(
        results_of(
            ("connect", "lb", [10.0] * 3),
            ("connect", "nginx", [12.0] * 3),
            ("connect", "lb=<a&b>", [10.0] * 3),
            ("bulk-1", "lb", [0.2] * 3),
            ("bulk-1", "envoy", [0.4] * 3),
        )
    )
    words = [each.text for each in root.iter(f"{SVG}text")]
    assert len(list(root.iter(f"{SVG}rect"))) == 3
    assert {"1.20", "1.00", "2.00", "lb=<a&b>"} <= set(words)
    assert "bulk download, 1 stream (lb: 0.20 s per GB)" in words


def test_chart_bars_are_as_long_as_what_the_peer_needs(results_of: Callable[..., Results]) -> None:
    root = drawn(
        results_of(
            ("connect", "lb", [10.0]),
            ("connect", "nginx", [10.0]),
            ("connect", "envoy", [20.0]),
            ("connect", "haproxy", [90.0]),
        )
    )
    one, two, cut = (float(each.attrib["width"]) for each in root.iter(f"{SVG}rect"))
    assert two == pytest.approx(2 * one, rel=0.01)
    assert cut == pytest.approx(chart.TIMES_MAX * one, rel=0.01)


def test_chart_draws_whiskers_only_where_there_is_an_interval(results_of: Callable[..., Results]) -> None:
    few = chart.svg(results_of(("connect", "lb", [10.0]), ("connect", "nginx", [12.0])))
    many = chart.svg(results_of(("connect", "lb", [10.0] * 3), ("connect", "nginx", [12.0, 13.0, 12.0])))
    assert few is not None and many is not None
    assert few.count('class="whisker"') == 0
    assert many.count('class="whisker"') == 1


def test_chart_of_nothing_to_compare_is_none(results_of: Callable[..., Results]) -> None:
    assert chart.svg(results_of(("connect", "lb", [10.0]))) is None
