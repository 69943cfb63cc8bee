"""What is wrong with a configuration, where, and what to write instead.

Problems are collected and raised together, so that one run of `lb check` shows all there is to mend.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

NOT_YET = "is not supported by this version of lb yet"

# What a message quotes of a value, and the longest word worth comparing with others.
QUOTED_MAX = 60

# More problems than this are not told one by one: the file is not what it was meant to be.
PROBLEMS_MAX = 100
AND_MORE = "and more problems from here on"

# Wrong values beyond this many are passed over while the schema is read. More than are told, because what is
# wrong in `defaults` is found again in every listener or pool, and told once.
WRONG_VALUES_MAX = 1000

KeyPath = tuple[str | int, ...]


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
    """The configuration cannot be used; `problems` are all of them, by position, up to a sensible number.

    `lists` are the files of lists that it names, as in Loaded: a change of one may mend it.
    """

    lists: Mapping[str, str | None] = MappingProxyType({})

    def __init__(self, problems: Iterable[Problem]) -> None:
        found = list(problems)
        files = list(dict.fromkeys(problem.file for problem in found))
        ordered = sorted(found, key=lambda one: (files.index(one.file), one.line, one.column))
        if more := ordered[PROBLEMS_MAX:]:
            ordered[PROBLEMS_MAX:] = [replace(more[0], path="", message=AND_MORE, suggestion=None)]
        self.problems = tuple(ordered)
        super().__init__("\n".join(map(str, self.problems)))


class BadValue(ValueError):
    """A value cannot stand where it does. Whoever knows the place makes a Problem of it."""

    def __init__(self, message: str, suggestion: str | None = None) -> None:
        self.suggestion = suggestion
        super().__init__(message)


@dataclass(slots=True)
class Budget:
    """How many wrong values are still told. Bounds what a hostile file costs, not what is valid."""

    left: int = WRONG_VALUES_MAX

    @property
    def is_spent(self) -> bool:
        return self.left < 0

    def spend(self) -> bool:
        self.left -= 1
        return self.left >= 0


def dotted(path: KeyPath) -> str:
    """`pools.web.endpoints[1].weight`"""
    parts = (f"[{part}]" if isinstance(part, int) else f".{shown(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def quoted(value: object) -> str:
    """A value as messages show it."""
    match value:
        case None:
            return "an empty value"
        case dict():
            return "a mapping"
        case list():
            return "a list"
        case "":
            return "an empty text"
        case bool():
            return f"`{str(value).lower()}`"
    return f"`{shown(str(value))}`"


def shown(text: str, length_max: int = QUOTED_MAX) -> str:
    """On one line, short, and without what would move a terminal's cursor."""
    start = "".join(char if char.isprintable() else " " for char in text[: length_max + 1])
    return start if len(start) <= length_max else start[:length_max] + "..."


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    close = difflib.get_close_matches(word, list(known), n=1) if len(word) <= QUOTED_MAX else []
    return f"did you mean `{close[0]}`?" if close else None
