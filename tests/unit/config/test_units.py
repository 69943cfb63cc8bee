"""Durations and sizes: what is written is what is read, and nothing without a unit is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.config.problem import BadValue
from lb.config.units import DURATION_UNITS, duration_s, show_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("500ms", 0.5),
        ("1200ms", 1.2),
        ("2s", 2.0),
        ("1.5s", 1.5),
        ("10m", 600.0),
        ("1h", 3600.0),
        ("30d", 2_592_000.0),
        ("007s", 7.0),
    ],
)
def test_duration_with_a_unit_is_read_in_seconds(text: str, seconds: float) -> None:
    assert duration_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5",
        "s",
        "5 s",
        " 5s",
        "5s ",
        "-5s",
        "+5s",
        "1e3s",
        ".5s",
        "5.s",
        "1_0s",
        "5S",
        "5min",
        "1h30m",
        "٣s",
    ],
)
def test_duration_that_could_mean_something_else_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="is not a duration"):
        duration_s(text)


@given(st.integers(0, 10**12 - 1), st.sampled_from(sorted(DURATION_UNITS)))
def test_duration_shown_is_read_back_as_it_was(number: int, unit: str) -> None:
    seconds = duration_s(f"{number}{unit}")
    if seconds < 10**11:  # beyond three thousand years a number of milliseconds has too many digits
        assert duration_s(show_duration(seconds)) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (0.8, "800ms"), (1.2, "1200ms"), (60, "1m"), (90, "90s"), (600, "10m"), (86400, "1d")],
)
def test_duration_is_shown_in_its_largest_whole_unit(seconds: float, text: str) -> None:
    assert show_duration(seconds) == text


@given(st.text())
def test_duration_of_any_text_is_a_number_or_a_bad_value(text: str) -> None:
    try:
        assert duration_s(text) >= 0
    except BadValue as error:
        assert error.suggestion
