"""Text -> a configuration, or every problem it has.

Four stages look at the same tree: the tree itself (duplicate keys, the environment), each key by itself (the
schema), keys together (checks), the lists it names. A place that one stage complains about is not complained
about by the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from lb.config import build, checks, limits
from lb.config.composer import compose
from lb.config.defaults import with_defaults
from lb.config.explain import explained
from lb.config.lists import ReadList, no_lists, read_lists
from lb.config.places import Places
from lb.config.problem import Budget, ConfigError, Problem
from lb.config.schema import FileSection
from lb.config.tree import plain
from lb.model.config import Config


@dataclass(frozen=True, slots=True)
class Loaded:
    """`text` is the file's; `text_hash` is its SHA-256, in hexadecimal. `lists` are the paths of the further
    files that were read, each with its own; None: it could not be read."""

    config: Config
    warnings: tuple[Problem, ...]
    text: str
    text_hash: str
    lists: Mapping[str, str | None] = field(default_factory=dict)


def parse(
    text: str, *, file: str, environment: Mapping[str, str] = {}, read_list: ReadList = no_lists
) -> Loaded:
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
    lists = read_lists(places, read_list)
    add(problems, lists.problems)
    if problems or section is None:
        raise ConfigError(problems)
    text_hash = hashlib.sha256(text.encode()).hexdigest()
    return Loaded(build.config(section, lists.networks), tuple(checks.warnings(places)), text, text_hash)


def add(problems: list[Problem], stage: Iterable[Problem]) -> None:
    """What stands in `defaults` is found there, and again in each listener or pool: it is told once."""
    taken = {(problem.file, problem.line, problem.column) for problem in problems}
    found: dict[tuple[object, ...], Problem] = {}
    for problem in sorted(stage, key=lambda problem: not problem.path.startswith("defaults")):
        place = problem.file, problem.line, problem.column
        if place not in taken:
            found.setdefault((*place, problem.message), problem)
    problems += found.values()
