"""Problems, as text."""

from __future__ import annotations

from lb.config.problem import PROBLEMS_MAX, ConfigError, Problem, did_you_mean, dotted, quoted


def test_problem_as_text_has_place_path_message_and_suggestion() -> None:
    problem = Problem("lb.yaml", 7, 5, "pools.web.polcy", "unknown key", "did you mean `policy`?")
    assert str(problem) == "lb.yaml:7:5: pools.web.polcy: unknown key; did you mean `policy`?"
    assert str(Problem("lb.yaml", 0, 0, "", "cannot be read")) == "lb.yaml: cannot be read"


def test_problems_of_an_error_are_in_the_order_of_the_file() -> None:
    places = [(3, 1), (1, 9), (1, 2)]
    error = ConfigError(Problem("f", line, column, "", "wrong") for line, column in places)
    assert [(problem.line, problem.column) for problem in error.problems] == sorted(places)


def test_problems_beyond_a_sensible_number_are_not_told() -> None:
    error = ConfigError(Problem("f", line, 1, "", "wrong") for line in range(1, PROBLEMS_MAX + 8))
    assert len(error.problems) == PROBLEMS_MAX + 1
    assert str(error.problems[-1]) == f"f:{PROBLEMS_MAX + 1}:1: and more problems from here on"


def test_path_is_written_with_dots_and_brackets() -> None:
    assert dotted(("pools", "web", "endpoints", 1, "weight")) == "pools.web.endpoints[1].weight"


def test_quoted_value_is_short_and_moves_no_cursor() -> None:
    assert quoted("a\x1b[2J\nb") == "`a [2J b`"
    assert len(quoted("x" * 10**6)) < 100
    values: list[object] = [None, True, [], {}, "", 5]
    shown = ["an empty value", "`true`", "a list", "a mapping", "an empty text", "`5`"]
    assert [quoted(value) for value in values] == shown


def test_suggestion_is_made_for_a_close_word_only() -> None:
    assert did_you_mean("polcy", ["policy", "pool"]) == "did you mean `policy`?"
    assert did_you_mean("zzz", ["policy", "pool"]) is None
