"""References to the environment."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lb.config.environment import substitute
from lb.config.problem import BadValue

ENVIRONMENT = {"NAME": "value", "EMPTY": "", "NESTED": "${NAME}", "_x1": "y"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${NAME}", "value"),
        ("a${NAME}b${_x1}c", "avaluebyc"),
        ("${NAME:-default}", "value"),
        ("${MISSING:-default}", "default"),
        ("${MISSING:-}", ""),
        ("${MISSING:-a:-b}", "a:-b"),
        ("${EMPTY}", ""),
        ("${EMPTY:-default}", "default"),
        ("${NESTED}", "${NAME}"),
        ("$${NAME}", "${NAME}"),
        ("$NAME $ $$", "$NAME $ $$"),
    ],
)
def test_reference_is_replaced_once(text: str, expected: str) -> None:
    assert substitute(text, ENVIRONMENT, length_max=100) == expected


def test_reference_to_a_missing_name_is_refused_by_name() -> None:
    with pytest.raises(BadValue, match="MISSING is not set"):
        substitute("a ${MISSING}", ENVIRONMENT, length_max=100)


@pytest.mark.parametrize(
    "text", ["${", "${}", "${1}", "${NAME", "${NAME:default}", "${NAME:-${OTHER}}", "${a b}"]
)
def test_reference_that_is_malformed_is_refused(text: str) -> None:
    with pytest.raises(BadValue, match="is not a reference"):
        substitute(text, ENVIRONMENT, length_max=100)


def test_text_that_grows_beyond_the_bound_is_refused() -> None:
    assert substitute("${NAME}" * 20, ENVIRONMENT, length_max=100) == "value" * 20
    with pytest.raises(BadValue, match="longer than 100"):
        substitute("${NAME}" * 21, ENVIRONMENT, length_max=100)


@given(st.text(alphabet="${}:-NAMEx"))
def test_text_of_any_kind_is_replaced_or_refused(text: str) -> None:
    try:
        substitute(text, ENVIRONMENT, length_max=1000)
    except BadValue as error:
        assert str(error)
