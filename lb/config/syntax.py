"""Text that is not YAML: what is wrong with it, for people, and where."""

from __future__ import annotations

import re

import yaml

from lb.config.problem import ConfigError, Problem

TEXT_MAX = 4 * 2**20

# What YAML forbids outright; the C parser would report it without a place.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


def refuse_unreadable(text: str, file: str, kind: str = "YAML") -> None:
    """`kind` is what messages call it."""
    if len(text) > TEXT_MAX:
        raise ConfigError([Problem(file, 0, 0, "", f"is larger than {TEXT_MAX // 2**20} MiB")])
    if match := UNPRINTABLE.search(text):
        before = text[: match.start()].splitlines(keepends=False) or [""]
        line, column = len(before), len(before[-1]) + 1
        if match.start() and text[match.start() - 1] in "\r\n\x85\u2028\u2029":
            line, column = line + 1, 1
        message, suggestion = f"the character U+{ord(match[0]):04X} cannot stand in {kind}", None
        if match[0] == "\ufeff":
            message, suggestion = "a byte order mark", "save the file as UTF-8 without one"
        raise ConfigError([Problem(file, line, column, "", message, suggestion)])


def syntax_problem(error: yaml.YAMLError, text: str, file: str) -> Problem:
    if not isinstance(error, yaml.MarkedYAMLError):
        return Problem(file, 0, 0, "", f"this is not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    message, suggestion = f"this is not YAML: {error.problem or error.context}", None
    if error.problem and error.context and error.context_mark:
        message += f" ({error.context} that begins in line {error.context_mark.line + 1})"
    rest = text.splitlines()[line : line + 1]
    here = rest[0][column : column + 1] if rest else ""
    if here == "\t" or "tab character" in message:
        message, suggestion = "a tab cannot indent a line of YAML", "use spaces"
    elif here in ("@", "`", "%"):
        message, suggestion = f"a value cannot begin with {here}", "put it in quotes"
    elif rest and "${" in rest[0]:
        suggestion = 'inside { } and [ ] a reference needs quotes: "${NAME}"'
    return Problem(file, line + 1, column + 1, "", message, suggestion)
