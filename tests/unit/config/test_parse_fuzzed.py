"""Whatever the text, `parse` gives a configuration or a ConfigError, and the places it names exist."""

from __future__ import annotations

import json
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lb.config import ConfigError, Problem, parse

SEEDS = [
    *((Path(__file__).parents[3] / "config" / name).read_text() for name in ("lb.yaml", "full.yaml")),
    *(path.read_text(errors="replace") for path in sorted((Path(__file__).parent / "bad").glob("*.yaml"))),
]

YAML = (
    "\n",
    "\n  ",
    "\t",
    ": ",
    "- ",
    "? ",
    "{",
    "}",
    "[",
    "]",
    ", ",
    "&a ",
    "*a",
    "!!int ",
    "|\n",
    ">\n",
    "'",
    '"',
)
MORE_YAML = ("---\n", "...\n", "#", "%YAML 1.1\n", "<<: ", "null", "true", "off", "0x1", "010", "9" * 5000)
OURS = (
    "${",
    "${A}",
    "${A:-1}",
    "$${",
    "10.0.0.1:80",
    "10.0.0.1:80-90",
    "unix:/a",
    "unix:",
    "10.0.0.0/8",
    "10MiB",
    "{file: a}",
    "[::1]:80",
    "5s",
    "defaults:\n  ",
    "listeners:",
    "pools:",
)
ALIEN = ("\x00", "\ufeff", "\u2028", "\ud800", "\x85", "\U0001f600", "\x1b", "\\x00")
PIECES = st.one_of(st.sampled_from(YAML + MORE_YAML + OURS + ALIEN), st.text(max_size=5))

SECTIONS = (
    "listeners",
    "pools",
    "web",
    "defaults",
    "workers",
    "admin",
    "timeouts",
    "tcp",
    "check",
    "headers",
)
KEYS = (
    "bind",
    "pool",
    "endpoints",
    "type",
    "idle",
    "keepalive",
    "cpus",
    "allow",
    "deny",
    "accept_proxy",
    "from",
    "file",
    "hash",
    "queue",
    "unix",
    "status",
    "on_down",
    "close_after",
    "<<",
)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=8))
TREES = st.recursive(
    LEAVES,
    lambda inside: (
        st.lists(inside, max_size=3) | st.dictionaries(st.sampled_from(SECTIONS + KEYS), inside, max_size=4)
    ),
    max_leaves=30,
)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 20)))
        text = text[:start] + draw(PIECES) + text[end:]
    return text


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(mutated(), st.lists(PIECES, max_size=30).map("".join)))
def test_text_of_any_kind_is_parsed_or_refused_at_places_it_has(text: str) -> None:
    lines = len(text.splitlines()) + 1
    for problem in problems_of(text):
        assert 0 <= problem.line <= lines
        assert problem.column >= 1 or problem.line == 0
        assert "\n" not in str(problem)


@settings(max_examples=200, deadline=None)
@given(TREES)
def test_tree_of_any_shape_is_parsed_or_refused(tree: object) -> None:
    assert all(problem.line for problem in problems_of(json.dumps(tree)))


def problems_of(text: str) -> tuple[Problem, ...]:
    try:
        parse(text, file="lb.yaml", environment={"A": "x: [", "B": ""})
    except ConfigError as error:
        assert error.problems
        return error.problems
    return ()
