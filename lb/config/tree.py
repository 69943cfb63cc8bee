"""YAML text -> a tree of nodes that know their line and column.

Built from the parser's events, without recursion, so that hostile text is refused while it is read: the
bound on nodes counts an alias as often as it is used, the bound on depth counts what is inside it. Nodes of
an alias are shared, never copied. What a scalar means is decided here, once: `true`, `false`, `null`, decimal
integers; anything else is text. Tags and merge keys are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Environment
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import yaml

from lb.config.environment import substitute
from lb.config.problem import BadValue, ConfigError, Path, Problem, dotted, quoted

# The parser in C, where PyYAML was built with it; the other one is the same, and slow.
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

TEXT_MAX = 4 * 2**20
NODES_MAX = 200_000  # 16384 endpoints written out in full are 150 000
DEPTH_MAX = 32
SCALAR_MAX = 16 * 2**10

INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,17})")
WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None, "true": True, "false": False}

# What YAML forbids outright; the C parser would report it without a place.
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")


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


def compose(text: str, file: str, environment: Environment[str, str]) -> tuple[Mapping, list[Problem]]:
    """The tree, and what is wrong in it without being in the way. Raises ConfigError if it is no tree."""
    refuse_unreadable(text, file)
    composer = Composer(file, environment)
    try:
        for event in yaml.parse(text, Loader=LOADER):
            composer.take(event)
    except yaml.MarkedYAMLError as error:
        raise ConfigError([syntax_problem(error, text, file)]) from None
    if not isinstance(composer.root, Mapping):
        kind = "the file is empty" if composer.root is None else "the file is not a mapping of keys to values"
        raise ConfigError([Problem(file, 1, 1, "", kind, "config/lb.yaml is the smallest one that runs")])
    return composer.root, composer.problems


def plain(node: Node) -> Any:
    """The tree as dictionaries, lists and scalars."""
    match node:
        case Mapping():
            return {key: plain(entry.node) for key, entry in node.entries.items()}
        case Sequence():
            return [plain(item) for item in node.items]
        case Scalar():
            return node.value


def place(root: Mapping, path: Path, *, of_key: bool = False) -> tuple[Path, Mark]:
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


def refuse_unreadable(text: str, file: str) -> None:
    if len(text) > TEXT_MAX:
        raise ConfigError([Problem(file, 0, 0, "", f"is larger than {TEXT_MAX // 2**20} MiB")])
    if match := UNPRINTABLE.search(text):
        before = text[: match.start()].splitlines(keepends=False) or [""]
        line, column = len(before), len(before[-1]) + 1
        if match.start() and text[match.start() - 1] in "\r\n\x85\u2028\u2029":
            line, column = line + 1, 1
        message, suggestion = f"the character U+{ord(match[0]):04X} cannot stand in YAML", None
        if match[0] == "\ufeff":
            message, suggestion = "a byte order mark", "save the file as UTF-8 without one"
        raise ConfigError([Problem(file, line, column, "", message, suggestion)])


def syntax_problem(error: yaml.MarkedYAMLError, text: str, file: str) -> Problem:
    mark = error.problem_mark or error.context_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    lines = text.splitlines()
    here = lines[line][column : column + 1] if line < len(lines) else ""
    message, suggestion = f"this is not YAML: {error.problem or error.context}", None
    if error.context and error.problem:
        started = f", line {error.context_mark.line + 1}" if error.context_mark else ""
        message += f" ({error.context}{started})"
    if here == "\t" or "tab character" in message:
        message, suggestion = "a tab cannot indent a line of YAML", "use spaces"
    elif here and here in "@`%":
        message, suggestion = f"a value cannot begin with {here}", "put it in quotes"
    return Problem(file, line + 1, column + 1, "", message, suggestion)


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
            self._note(
                mark, f"duplicate key; the first one is in line {first.key.line}, column {first.key.column}"
            )
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
            self._note(mark, f"tags are not read: {quoted(tag)}")

    def _count(self, nodes: int, mark: Mark) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise self._fatal(
                mark, f"more than {NODES_MAX} values up to here, aliases counted as often as used"
            )

    def _too_deep(self, mark: Mark) -> ConfigError:
        return self._fatal(mark, f"nested more than {DEPTH_MAX} deep")

    def _note(self, mark: Mark, message: str, suggestion: str | None = None) -> None:
        self.problems.append(Problem(self._file, *mark, dotted(self._path()), message, suggestion))

    def _fatal(self, mark: Mark, message: str, suggestion: str | None = None) -> ConfigError:
        self._note(mark, message, suggestion)
        return ConfigError(self.problems)

    def _path(self) -> Path:
        """The keys and indexes down to where the next value will stand."""
        keys = (len(open.node.items) if isinstance(open.node, Sequence) else open.key for open in self._stack)
        return tuple(key for key in keys if key is not None)
