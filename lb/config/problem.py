"""What is wrong with a configuration, where, and what to write instead.

Problems are collected and raised together, so that one run of `lb check` shows all there is to mend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

NOT_YET = "is not supported by this version of lb yet"

# What a message quotes of a value, and the longest word worth comparing with others.
QUOTED_MAX = 60

# More problems than this are counted, not told: the file is not what it was meant to be.
PROBLEMS_MAX = 100

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """`line` and `column` count from 1; `line` 0: it is about the file as a whole. `path` is the key's."""

    file: str
    line: int
    column: int
    path: str
    message: str
    suggestion: str | None = None

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        about = ": ".join(part for part in (place, self.path, self.message) if part)
        return f"{about}; {self.suggestion}" if self.suggestion else about


class ConfigError(Exception):
    """The configuration cannot be used; `problems` are all of them, by position, up to a sensible number."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        ordered = sorted(problems, key=lambda problem: (problem.line, problem.column))
        if more := ordered[PROBLEMS_MAX:]:
            rest = replace(
                more[0], path="", message=f"and {len(more)} more problems from here on", suggestion=None
            )
            ordered[PROBLEMS_MAX:] = [rest]
        self.problems = tuple(ordered)
        super().__init__("\n".join(map(str, self.problems)))


class BadValue(ValueError):
    """A value cannot stand where it does. Whoever knows the place makes a Problem of it."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        self.suggestion = suggestion
        super().__init__(message)


def dotted(path: Path) -> str:
    """`pools.web.endpoints[1].weight`"""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def quoted(value: object) -> str:
    """A value as messages show it: on one line, and short."""
    match value:
        case None:
            return "an empty value"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case bool():
            return f"`{str(value).lower()}`"
    text = " ".join(str(value).split())
    return f"`{text if len(text) <= QUOTED_MAX else text[:QUOTED_MAX] + '...'}`"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(word, list(known), n=1) if len(word) <= QUOTED_MAX else []
    return f"did you mean `{close[0]}`?" if close else None
