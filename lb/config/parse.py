"""Text -> a configuration, or every problem it has.

Three stages look at the same tree: the tree itself (duplicate keys, the environment), each key by itself (the
schema), keys together (checks). A place that one stage complains about is not complained about by the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from lb.config import build, checks, limits
from lb.config.composer import compose
from lb.config.defaults import with_defaults
from lb.config.explain import explained
from lb.config.places import Places
from lb.config.problem import Budget, ConfigError, Problem
from lb.config.schema import FileSection
from lb.config.tree import plain
from lb.model.config import Config


@dataclass(frozen=True, slots=True)
class Loaded:
    """`text` is the file's; `text_hash` is its SHA-256, in hexadecimal."""

    config: Config
    warnings: tuple[Problem, ...]
    text: str
    text_hash: str


def parse(text: str, *, file: str, environment: Mapping[str, str] = {}) -> Loaded:
    """`file` is how problems call it. Raises ConfigError."""
    tree, problems = compose(text, file, environment)
    places = Places(with_defaults(tree), file)
    if excess := list(limits.excess(places)):
        raise ConfigError([*problems, *excess])
    section: FileSection | None = None
    try:
        section = FileSection.model_validate(plain(places.root), context=Budget())
    except ValidationError as error:
        add(problems, explained(error, places))
    add(problems, checks.errors(places))
    if problems or section is None:
        raise ConfigError(problems)
    text_hash = hashlib.sha256(text.encode()).hexdigest()
    return Loaded(build.config(section), tuple(checks.warnings(places)), text, text_hash)


def add(problems: list[Problem], stage: Iterable[Problem]) -> None:
    """What stands in `defaults` is found there, and again in each listener or pool: it is told once."""
    taken = {(problem.line, problem.column) for problem in problems}
    found: dict[tuple[int, int, str], Problem] = {}
    for problem in sorted(stage, key=lambda problem: not problem.path.startswith("defaults")):
        if (problem.line, problem.column) not in taken:
            found.setdefault((problem.line, problem.column, problem.message), problem)
    problems += found.values()
