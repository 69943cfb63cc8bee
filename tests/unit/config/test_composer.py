"""YAML text -> a tree: what a scalar means, where a node stands, what is not read."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from lb.config import composer
from lb.config.composer import compose
from lb.config.problem import ConfigError
from lb.config.tree import Mapping, Mark, plain


def read(text: str) -> Any:
    root, problems = compose(text, "lb.yaml", {"N": "2", "WORD": "true", "YAML": "a: [b]"})
    assert not problems
    return plain(root)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("false", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("42", 42),
        ("-7", -7),
        ("999999999999999999", 999999999999999999),
        *((word, word) for word in ("off", "no", "on", "yes", "y", "True", "TRUE", "Null", "NULL", "n")),
        *(
            (word, word)
            for word in ("010", "0x10", "0o10", "0b1", "1_000", "6:40", "+1", "1.0", "1e3", ".inf")
        ),
        ("1000000000000000000", "1000000000000000000"),
        ("2026-01-01", "2026-01-01"),
        ("'true'", "true"),
        ('"42"', "42"),
        ("''", ""),
        ("${N}", 2),
        ('"${N}"', 2),
        ("${MISSING:-3}", 3),
        ("${MISSING:-}", None),
        ("'a${N}'", "a2"),
        ("${WORD}", True),
        ("${YAML}", "a: [b]"),
        ("|\n  12\n", "12\n"),
    ],
)
def test_scalar_means_what_people_expect(text: str, value: object) -> None:
    found = read(f"key: {text}")["key"]
    assert (found, type(found)) == (value, type(value))


def test_keys_are_text_whatever_they_look_like() -> None:
    assert read("1: a\ntrue: b\nnull: c\n${N}: d\n") == {"1": "a", "true": "b", "null": "c", "${N}": "d"}


def test_alias_stands_for_the_same_node() -> None:
    root, _ = compose("a: &x {b: [1, 2]}\nc: *x\n", "lb.yaml", {})
    assert root.get("a") is root.get("c")
    assert plain(root) == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}


def test_marks_are_those_of_the_text() -> None:
    root, _ = compose("# comment\nä: {b: [1,\n    two]}\n'c' :\n   - x\n", "lb.yaml", {})
    first, second = root.entries["ä"], root.entries["c"]
    assert isinstance(first.node, Mapping)
    items = first.node.get("b")
    assert (first.key, first.node.mark, second.key) == (Mark(2, 1), Mark(2, 4), Mark(4, 1))
    assert items
    assert (items.mark, [item.mark for item in items.items]) == (Mark(2, 8), [Mark(2, 9), Mark(3, 5)])  # type: ignore[union-attr]
    assert second.node.mark == Mark(5, 4)


@pytest.mark.parametrize("text", ["a: 1\nb: [x, {y: z}]\n", "a: &x [1]\nb: {c: *x}\n"])
def test_parser_in_python_gives_the_same_tree(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    in_c = compose(text, "lb.yaml", {})
    monkeypatch.setattr(composer, "LOADER", yaml.SafeLoader)
    assert compose(text, "lb.yaml", {}) == in_c


def test_problems_before_a_syntax_error_are_told_with_it() -> None:
    with pytest.raises(ConfigError) as refused:
        compose("a: 1\na: 2\nb: [", "lb.yaml", {})
    assert [problem.line for problem in refused.value.problems] == [2, 4]


def test_bound_on_depth_follows_aliases() -> None:
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))
    with pytest.raises(ConfigError, match="nested more than 32 deep"):
        compose(chain, "lb.yaml", {})
