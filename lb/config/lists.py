"""Lists of networks in files of their own: one network per line, comments after #, blank lines.

Each file is read once, however many listeners name it, and is one value then. What is wrong in it is told
with its own name and line; that it cannot be read, at the key that names it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from lb.config.leaf import FileName
from lb.config.networks import Member, gathered, read_member
from lb.config.places import Places
from lb.config.problem import PROBLEMS_MAX, BadValue, ConfigError, KeyPath, Problem, dotted, quoted
from lb.config.reading import members
from lb.config.syntax import refuse_unreadable
from lb.config.tree import Mapping, Scalar
from lb.model.networks import Networks

# In all lists of a configuration: what can be read, and told to be wrong, in a second and 64 MiB.
NETWORKS_MAX = 100_000
CHARACTERS_MAX = 8 * 2**20

NOBODY = Networks()

ENTRY = re.compile(r"^[^\S\n]*([^#\s][^#\n]*)", re.MULTILINE)


class ListText(NamedTuple):
    """`path` is how problems call the file."""

    path: str
    text: str


# Takes the name that the configuration gives. Raises BadValue if there is no such file to be read, and
# ConfigError if it is no text.
ReadList = Callable[[str], ListText]


def no_lists(name: str) -> ListText:
    """For text that is no file, and so has no folder."""
    raise BadValue(f"{quoted(name)} cannot be read from here")


@dataclass(slots=True)
class Lists:
    """`networks` by the name of the file; `problems` of all of them; what may still be read."""

    networks: dict[str, Networks] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    networks_left: int = NETWORKS_MAX
    characters_left: int = CHARACTERS_MAX


def read_lists(places: Places, read: ReadList) -> Lists:
    """All that the listeners name."""
    lists, tried = Lists(), set[str]()
    for path, name in named(places.root):
        if name not in tried and len(lists.problems) <= PROBLEMS_MAX:
            tried.add(name)
            take(lists, path, name, places, read)
        if lists.networks.get(name) == NOBODY and path[-2] != "deny":
            lists.problems.append(places.problem(path, f"{quoted(name)} has no network in it"))
    return lists


def named(root: Mapping) -> Iterator[tuple[KeyPath, str]]:
    """The keys that name a file, and the name."""
    for listener, section in members(root, "listeners"):
        by_proxy = section.get("accept_proxy")
        for path, node in (
            (("allow",), section.get("allow")),
            (("deny",), section.get("deny")),
            (("accept_proxy", "from"), by_proxy.get("from") if isinstance(by_proxy, Mapping) else None),
        ):
            name = node.get("file") if isinstance(node, Mapping) else None
            if isinstance(name, Scalar) and is_file_name(name.value):
                yield ("listeners", listener, *path, "file"), str(name.value)


def is_file_name(value: object) -> bool:
    """What is not has a problem of its own."""
    try:
        FileName().read(value)
    except BadValue:
        return False
    return True


def take(lists: Lists, path: KeyPath, name: str, places: Places, read: ReadList) -> None:
    before = len(lists.problems)
    try:
        file, text = read(name)
        lists.characters_left -= len(text)
        if lists.characters_left < 0:
            raise BadValue(f"the lists are larger than {CHARACTERS_MAX // 2**20} MiB together")
        refuse_unreadable(text, file, "a list")
    except BadValue as error:
        lists.problems.append(places.problem(path, str(error), error.suggestion))
    except ConfigError as error:
        lists.problems += error.problems
    else:
        found = gathered(entries(lists, dotted(path), file, text))
        if len(lists.problems) == before:
            lists.networks[name] = found


def entries(lists: Lists, path: str, file: str, text: str) -> Iterator[Member]:
    """Lines are counted only for a problem."""
    for match in ENTRY.finditer(text):
        try:
            if lists.networks_left == 0:
                raise BadValue(f"more than {NETWORKS_MAX} networks up to here, in all lists together")
            lists.networks_left -= 1
            yield read_member(match[1].rstrip())
        except BadValue as error:
            line = text.count("\n", 0, match.start(1)) + 1
            column = match.start(1) - text.rfind("\n", 0, match.start(1))
            lists.problems.append(Problem(file, line, column, path, str(error), error.suggestion))
            if lists.networks_left == 0 or len(lists.problems) > PROBLEMS_MAX:
                return
