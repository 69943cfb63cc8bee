"""YAML text -> a tree.

Built from the parser's events, without recursion, so that hostile text is refused while it is read: the
bound on nodes counts an alias as often as it is used, the bound on depth counts what is inside it. What a
scalar means is decided here, once: `true`, `false`, `null`, decimal integers; anything else is text. Tags and
merge keys are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Environment
from dataclasses import dataclass

import yaml

from lb.config.environment import substitute
from lb.config.problem import PROBLEMS_MAX, BadValue, ConfigError, KeyPath, Problem, dotted, quoted
from lb.config.syntax import TEXT_MAX, refuse_unreadable, syntax_problem
from lb.config.tree import NOWHERE, Entry, Mapping, Mark, Node, Scalar, Sequence

# The parser in C, where PyYAML was built with it; the other one is the same, and slow.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

NODES_MAX = 150_000  # 16384 endpoints with name, address and weight are 115 000
DEPTH_MAX = 32
SCALAR_MAX = 16 * 2**10

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}


def compose(text: str, file: str, environment: Environment[str, str]) -> tuple[Mapping, list[Problem]]:
    """The tree, and what is wrong in it without being in the way. Raises ConfigError if it is no tree."""
    refuse_unreadable(text, file)
    composer = Composer(file, environment)
    try:
        for event in yaml.parse(text, Loader=LOADER):
            composer.take(event)
    except yaml.YAMLError as error:
        raise ConfigError([*composer.problems, syntax_problem(error, text, file)]) from None
    if not isinstance(composer.root, Mapping):
        kind = "the file is empty" if composer.root is None else "the file is not a mapping of keys to values"
        raise ConfigError([Problem(file, 1, 1, "", kind, "config/lb.yaml is the smallest one that runs")])
    return composer.root, composer.problems


@dataclass(slots=True)
class Open:
    """A container whose end has not come yet. `key` waits for its value."""

    node: Sequence | Mapping
    anchor: str | None
    key: str | None = None
    key_mark: Mark = NOWHERE


class Composer:
    """Takes the events of one document."""

    def __init__(self, file: str, environment: Environment[str, str]) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._file = file
        self._environment = environment
        self._stack: list[Open] = []
        self._anchors: dict[str, Node | None] = {}
        self._nodes = 0
        self._substituted = 0  # characters that came out of references

    def take(self, event: yaml.Event) -> None:
        assert event.start_mark
        mark = Mark(event.start_mark.line + 1, event.start_mark.column + 1)
        match event:
            case yaml.ScalarEvent() if self._at_key():
                self._begin_entry(event, mark)
            case yaml.ScalarEvent():
                self._refuse_tag(event, mark)
                self._attach(Scalar(mark, self._read(event, mark)), event.anchor)
            case yaml.AliasEvent():
                self._attach(self._aliased(str(event.anchor), mark), None, mark)
            case yaml.MappingStartEvent():
                self._open(Mapping(mark), event, mark)
            case yaml.SequenceStartEvent():
                self._open(Sequence(mark), event, mark)
            case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
                closed = self._stack.pop()
                self._attach(closed.node, closed.anchor)
            case yaml.DocumentStartEvent() if self.root:
                raise self._fatal(mark, "a second document begins", "one file holds one configuration")

    def _at_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].node, Mapping) and self._stack[-1].key is None

    def _begin_entry(self, event: yaml.ScalarEvent, mark: Mark) -> None:
        top = self._stack[-1]
        assert isinstance(top.node, Mapping)
        self._refuse_tag(event, mark)
        self._count(1, mark)
        first = top.node.entries.get(event.value)
        top.key, top.key_mark = event.value, mark
        if first:
            line, column = first.key
            self._note(mark, f"duplicate key; the first one is in line {line}, column {column}")
        elif event.value == "<<" and not event.style:
            self._note(mark, "merge keys are not read", "put keys that are shared under `defaults`")

    def _open(self, node: Sequence | Mapping, event: yaml.CollectionStartEvent, mark: Mark) -> None:
        if self._at_key():
            raise self._fatal(mark, "a key is to be text")
        if len(self._stack) >= DEPTH_MAX:
            raise self._too_deep(mark)
        self._refuse_tag(event, mark)
        self._stack.append(Open(node, event.anchor))
        if event.anchor:
            self._anchors[event.anchor] = None

    def _attach(self, node: Node, anchor: str | None, mark: Mark | None = None) -> None:
        """`node` is complete, and stands at `mark` if that is elsewhere than it was written."""
        self._count(node.size if mark else 1, mark or node.mark)
        if anchor:
            self._anchors[anchor] = node
        if not self._stack:
            self.root = node
            return
        top = self._stack[-1]
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif top.key is not None:
            top.node.entries.setdefault(top.key, Entry(top.key_mark, node))
            top.node.size += 1
            top.key = None
        top.node.size += node.size
        top.node.depth = max(top.node.depth, node.depth + 1)
        if len(self._stack) + node.depth > DEPTH_MAX:
            raise self._too_deep(mark or node.mark)

    def _aliased(self, anchor: str, mark: Mark) -> Node:
        if self._at_key():
            raise self._fatal(mark, "a key is to be text")
        node = self._anchors.get(anchor)
        if node is None:
            inside = anchor in self._anchors
            raise self._fatal(
                mark, f"*{anchor} " + ("is used inside itself" if inside else "has no anchor above it")
            )
        return node

    def _read(self, event: yaml.ScalarEvent, mark: Mark) -> bool | int | str | None:
        """Where a reference stood, quotes do not make text of it: in `{count: "${N}"}` YAML demands them."""
        text = event.value
        try:
            if "${" in text or len(text) > SCALAR_MAX:
                text = substitute(text, self._environment, length_max=SCALAR_MAX)
                self._count_substituted(len(text), mark)
            elif event.style:
                return text
        except BadValue as error:
            self._note(mark, str(error), error.suggestion)
            return None
        if text in WORDS:
            return WORDS[text]
        return int(text) if INTEGER.fullmatch(text) else text

    def _refuse_tag(self, event: yaml.NodeEvent, mark: Mark) -> None:
        if tag := getattr(event, "tag", None):
            self._note(mark, f"tags are not read: {quoted(tag.replace('tag:yaml.org,2002:', '!!'))}")

    def _count(self, nodes: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise self._fatal(
                mark, f"more than {NODES_MAX} values up to here, aliases counted as often as used"
            )

    def _count_substituted(self, length: int, mark: Mark) -> None:
        self._substituted += length
        if self._substituted > TEXT_MAX:
            raise self._fatal(mark, f"the environment makes the file larger than {TEXT_MAX // 2**20} MiB")

    def _too_deep(self, mark: Mark) -> ConfigError:
        return self._fatal(mark, f"nested more than {DEPTH_MAX} deep")

    def _note(self, mark: Mark, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(self._file, *mark, dotted(self._path()), message, suggestion))
        if len(self.problems) > PROBLEMS_MAX:
            raise ConfigError(self.problems)

    def _fatal(self, mark: Mark, message: str, suggestion: str | None = None) -> ConfigError:
        self._note(mark, message, suggestion)
        return ConfigError(self.problems)

    def _path(self) -> KeyPath:
        """The keys and indexes down to where the next value will stand."""
        parts = (len(at.node.items) if isinstance(at.node, Sequence) else at.key for at in self._stack)
        return tuple(part for part in parts if part is not None)
