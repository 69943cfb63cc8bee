"""A configuration file as a tree of nodes that know their place. The nodes of an alias are shared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple


class Mark(NamedTuple):
    """Both count from 1."""

    line: int
    column: int


NOWHERE = Mark(0, 0)


@dataclass(slots=True)
class Scalar:
    size: ClassVar = 1
    depth: ClassVar = 0
    mark: Mark
    value: bool | int | str | None


@dataclass(slots=True)
class Sequence:
    """`size` and `depth` are of the whole subtree, aliases followed."""

    mark: Mark
    items: list[Node] = field(default_factory=list)
    size: int = 1
    depth: int = 1


@dataclass(slots=True)
class Mapping:
    mark: Mark
    entries: dict[str, Entry] = field(default_factory=dict)
    size: int = 1
    depth: int = 1

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.node if entry else None


Node = Scalar | Sequence | Mapping


class Entry(NamedTuple):
    """A key's own place, and its value."""

    key: Mark
    node: Node


def plain(node: Node) -> Any:
    """The tree as dictionaries, lists and scalars."""
    match node:
        case Mapping():
            return {key: plain(entry.node) for key, entry in node.entries.items()}
        case Sequence():
            return [plain(item) for item in node.items]
        case Scalar():
            return node.value
