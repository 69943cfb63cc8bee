"""`lb check`: is this configuration file fine? Offline: nothing is bound, nothing is looked up."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lb.cli.failure import THE_ANSWER_IS_NO
from lb.cli.locate import CONFIG, ConfigOption, JsonOption

if TYPE_CHECKING:
    from lb.config import Loaded, Problem

EXCERPT_MAX = 100  # characters of a line that are shown, so that it stays one line

RED, GREEN, YELLOW = 31, 32, 33


def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check a configuration file; every problem is shown with its line."""
    from lb.config import ConfigError, load

    path = config or CONFIG
    try:
        loaded = load(path)
    except ConfigError as error:
        if as_json:
            print(
                json.dumps({"ok": False, "errors": [asdict(problem) for problem in error.problems]}, indent=2)
            )
        else:
            print("\n".join(shown_problems(error.problems)))
        raise typer.Exit(THE_ANSWER_IS_NO) from None
    if as_json:
        warnings = [asdict(warning) for warning in loaded.warnings]
        print(json.dumps({"ok": True, **counts(loaded), "warnings": warnings}, indent=2))
        return
    numbers = ", ".join(
        f"{count} {noun if count != 1 else noun[:-1]}" for noun, count in counts(loaded).items()
    )
    print(f"{path}: {painted('fine', GREEN)} ({numbers})")
    for line in shown_problems(loaded.warnings, "warning: ", YELLOW):
        print(line)


def counts(loaded: Loaded) -> dict[str, int]:
    pools = loaded.config.pools
    endpoints = sum(len(pool.endpoints) for pool in pools)
    return {"listeners": len(loaded.config.listeners), "pools": len(pools), "endpoints": endpoints}


def source_of(path: Path) -> list[str]:
    """The lines of the file; none if it is no text."""
    from lb.config import ConfigError
    from lb.config.load import read_text

    try:
        return read_text(path).splitlines()
    except ConfigError:
        return []


def shown_problems(problems: Sequence[Problem], label: str = "", colour: int = RED) -> Iterator[str]:
    """Each with its line, of the configuration or of a list that it names."""
    sources = {file: source_of(Path(file)) for file in {problem.file for problem in problems}}
    for problem in problems:
        source = sources[problem.file]
        yield painted(label, colour) + str(problem)
        if 0 < problem.line <= len(source):
            yield from excerpt(problem, source[problem.line - 1], colour)


def excerpt(problem: Problem, line: str, colour: int) -> Iterator[str]:
    """The line, or the part of a long one that matters, and a caret below the column."""
    from rich.cells import cell_len

    column = problem.column - 1
    start = max(0, min(column - EXCERPT_MAX // 2, len(line) - EXCERPT_MAX))
    part = "".join(char if char.isprintable() else " " for char in line[start : start + EXCERPT_MAX])
    margin = f"{problem.line:>6} | "
    yield margin + part
    yield " " * (len(margin) + cell_len(part[: column - start])) + painted("^", colour)


def painted(text: str, colour: int) -> str:
    """In colour on a terminal that wants it."""
    wanted = text and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return f"\033[{colour}m{text}\033[0m" if wanted else text
