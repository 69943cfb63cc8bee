"""A path in the configuration -> its line and column."""

from __future__ import annotations

from lb.config.problem import KeyPath, Problem, dotted
from lb.config.tree import Mapping, Mark, Node, Sequence


class Places:
    """Makes problems of paths."""

    def __init__(self, root: Mapping, file: str) -> None:
        self.root = root
        self._file = file

    def problem(
        self, path: KeyPath, message: str, suggestion: str | None = None, *, at_key: bool = False
    ) -> Problem:
        known, mark = place(self.root, path, of_key=at_key)
        return Problem(self._file, *mark, dotted(known), message, suggestion)


def place(root: Mapping, path: KeyPath, *, of_key: bool = False) -> tuple[KeyPath, Mark]:
    """Where `path` stands, or as much of it as the file has: short forms have no nodes of their own."""
    node: Node = root
    mark = root.mark
    for depth, part in enumerate(path):
        if isinstance(node, Mapping) and part in node.entries:
            key, node = node.entries[str(part)]
        elif isinstance(node, Sequence) and isinstance(part, int) and part < len(node.items):
            node = node.items[part]
            key = node.mark
        else:
            return path[:depth], mark
        mark = key if of_key else node.mark
    return path, mark
