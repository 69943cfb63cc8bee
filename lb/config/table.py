"""Every key of the file in one table: its default, range and unit, what a change of it touches, what it is.

Made of the sections, as the JSON Schema is. Names of listeners and pools are NAME, entries of a list [].
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from lb.config.leaf import Either, Leaf, Word
from lb.config.networks_section import ListFileSection
from lb.config.schema import FileSection
from lb.config.section import Section
from lb.config.shorthand import Shorthand

HEADERS = ("key", "default", "range", "unit", "a change touches", "what it is")

RESTART = "nothing before a restart"
NEW_SESSIONS = "new sessions"
PROBES = "health, which is observed anew"

# What a change touches, by the longest beginning of a key. Everything else goes on as it was: open sessions
# keep what they began with.
TOUCHES = {
    "version": "nothing",
    "workers": RESTART,
    "sessions_max": RESTART,
    "user": RESTART,
    "runtime_dir": RESTART,
    "shutdown": "the end of lb",
    "shutdown.orphan": RESTART,
    "admin": RESTART,
    "log": "lines from then on",
    "log.access": RESTART,
    "log.access_rate_max": "lines from then on",
    "allow_exec": "whether the file is valid",
    "defaults": "as in the listener or pool",
    "listeners": "the listeners that come and go; sessions of those that go keep what they have",
    "listeners.NAME": NEW_SESSIONS,
    "listeners.NAME.bind": "the addresses that come and go; sessions stay",
    "listeners.NAME.upload_max": "new sessions, and open ones that have a limit",
    "listeners.NAME.download_max": "new sessions, and open ones that have a limit",
    "listeners.NAME.tcp": "new connections",
    "listeners.NAME.tcp.interface": "the sockets that listen, opened anew; sessions stay",
    "listeners.NAME.tcp.netns": "the sockets that listen, opened anew; sessions stay",
    "listeners.NAME.unix": "the files, at once",
    "pools": "the pools that come and go",
    "pools.NAME": NEW_SESSIONS,
    "pools.NAME.endpoints": "endpoints that come are probed, those that go drain",
    "pools.NAME.endpoints[].name": "one endpoint comes, one drains",
    "pools.NAME.endpoints[].address": "one endpoint comes, one drains",
    "pools.NAME.endpoints[].weight": NEW_SESSIONS,
    "pools.NAME.endpoints[].sessions_max": NEW_SESSIONS,
    "pools.NAME.endpoints[].admin": "new sessions; drain and maint: open ones, too",
    "pools.NAME.check": PROBES,
    "pools.NAME.drain": "endpoints that drain",
    "pools.NAME.on_down": "endpoints that are DOWN",
}


class Row(NamedTuple):
    """`default`: as it is written in the file; None: there is none, the key must be there."""

    key: str
    default: str | None
    range: str
    unit: str
    touches: str
    about: str


def markdown() -> str:
    lines = [HEADERS, ("---",) * len(HEADERS), *map(cells, rows())]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cells(row: Row) -> Iterator[str]:
    yield f"`{row.key}`"
    yield "(required)" if row.default is None else f"`{row.default}`" if row.default else ""
    for cell in row[2:]:
        yield cell.replace("|", "\\|").replace("<", "&lt;")


def rows() -> list[Row]:
    """In the order of the sections; each section is followed by what is in it."""
    return list(rows_of(FileSection, ""))


def rows_of(section: type[Section], prefix: str) -> Iterator[Row]:
    for name, field in section.fields().items():
        key, kind = f"{prefix}{name}", Annotated[field.annotation, *field.metadata, None]
        about = " ".join((field.description or "").split())
        default = None if field.is_required() else default_of(field, kind)
        yield Row(key, default, range_of(kind), unit_of(kind), touches(key), about)
        if name != "defaults":
            for inner, path in sections_in(kind, key):
                if not issubclass(section, inner):  # its keys are these
                    yield from rows_of(inner, f"{path}.")


def parts(kind: Any) -> tuple[Any, ...]:
    """Of a type with annotations: the type. Of a union, a list, a mapping: what may stand there."""
    if get_origin(kind) in (Annotated, list):
        return get_args(kind)[:1]
    if get_origin(kind) is dict:
        return get_args(kind)[1:]
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else ()


def leaves_of(kind: Any) -> list[Leaf]:
    """The outermost ones: one inside another is its own business."""
    if found := [each for each in notes(kind) if isinstance(each, Leaf)]:
        return found
    return [leaf for part in parts(kind) for leaf in leaves_of(part)]


def notes(kind: Any) -> tuple[Any, ...]:
    return get_args(kind)[1:] if get_origin(kind) is Annotated else ()


def sections_in(kind: Any, path: str) -> Iterator[tuple[type[Section], str]]:
    if isinstance(kind, type) and issubclass(kind, Section):
        yield kind, path
    inside = {list: f"{path}[]", dict: f"{path}.NAME"}.get(get_origin(kind), path)
    for part in parts(kind):
        yield from sections_in(part, inside)


def range_of(kind: Any) -> str:
    return "; ".join(dict.fromkeys(ranges_of(kind)))


def ranges_of(kind: Any) -> list[str]:
    own = [note.range() for note in notes(kind) if isinstance(note, Leaf)]
    if own or kind is NoneType:
        return own or ["null"]
    if isinstance(kind, type) and issubclass(kind, Section):
        return ["{file: path}" if kind is ListFileSection else "keys below"]
    inside = [each for part in parts(kind) for each in ranges_of(part)]
    if get_origin(kind) is list:
        return [f"a list: {'; '.join(inside)}"]
    words = words_of(kind)
    return [*words, *(each for each in inside if each != "null")] if words else inside


def words_of(kind: Any) -> list[str]:
    """Short forms. The first one is what None stands for."""
    return [word for note in notes(kind) if isinstance(note, Shorthand) for word in note.words()]


def unit_of(kind: Any) -> str:
    return next((leaf.unit() for leaf in leaves_of(kind)), "")


def default_of(field: FieldInfo, kind: Any) -> str:
    """Empty for a section: it is made of the defaults of its keys."""
    value = field.get_default(call_default_factory=True)
    leaf = next(iter(leaves_of(kind)), None)
    if isinstance(value, Section):
        return ""
    if value == "" and isinstance(leaf, Word):
        return ""
    if isinstance(value, list) and leaf:
        return f"[{', '.join(str(leaf.show(each)) for each in value)}]"
    if value is None and words_of(kind):
        return words_of(kind)[0]
    if isinstance(leaf, Either) or (leaf and value not in (None, {})):
        value = leaf.show(value)
    return value if isinstance(value, str) and value else json.dumps(value)


def touches(key: str) -> str:
    while key not in TOUCHES and "." in key:
        key = key.rpartition(".")[0]
    return TOUCHES[key]
