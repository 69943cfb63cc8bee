"""`defaults:` -> under every listener and pool, in the tree, so that a value keeps the line it stands in.

Mappings are completed key by key; anything else that a listener or pool says itself stands. A `check` is
completed by one of the same type, or of none; one of another type has nothing to give.
"""

from __future__ import annotations

from lb.config.listener_section import ListenerSection
from lb.config.pool_section import PoolSection
from lb.config.tree import Entry, Mapping, Node, Scalar


def with_defaults(root: Mapping) -> Mapping:
    """A new root; nodes are shared with the old one."""
    given = root.get("defaults")
    if not isinstance(given, Mapping):
        return root
    listener = only(given, frozenset(ListenerSection.model_fields))
    pool = only(given, frozenset(PoolSection.model_fields))
    entries = dict(root.entries)
    for key, under in (("listeners", listener), ("pools", pool)):
        entry = entries.get(key)
        if entry and isinstance(entry.node, Mapping):
            entries[key] = Entry(entry.key, each_over(entry.node, under))
    return made(root, entries)


def each_over(members: Mapping, under: Mapping) -> Mapping:
    entries = {
        name: Entry(entry.key, over(entry.node, own_defaults(entry.node, under)))
        for name, entry in members.entries.items()
    }
    return made(members, entries)


def own_defaults(member: Node, under: Mapping) -> Mapping:
    """`under` without a check that does not concern this member."""
    check = under.get("check")
    own = member.get("check") if isinstance(member, Mapping) else None
    if not isinstance(check, Mapping):
        return under
    kind = type_of(check)
    if (own is None and kind is None) or (own is not None and kind not in (None, type_of(own))):
        return only(under, frozenset(under.entries) - {"check"})
    return under


def type_of(check: Node) -> object:
    kind = check.get("type") if isinstance(check, Mapping) else None
    return kind.value if isinstance(kind, Scalar) else None


def over(node: Node, under: Node) -> Node:
    """`node`, completed by `under`. An empty key (`web:`) is an empty mapping."""
    if isinstance(node, Scalar) and node.value is None:
        node = Mapping(node.mark)
    if not isinstance(node, Mapping) or not isinstance(under, Mapping):
        return node
    entries = dict(under.entries)
    for key, entry in node.entries.items():
        beneath = under.get(key)
        entries[key] = Entry(entry.key, over(entry.node, beneath)) if beneath else entry
    return made(node, entries)


def only(node: Mapping, keys: frozenset[str]) -> Mapping:
    return made(node, {key: entry for key, entry in node.entries.items() if key in keys})


def made(node: Mapping, entries: dict[str, Entry]) -> Mapping:
    size = 1 + sum(1 + entry.node.size for entry in entries.values())
    depth = 1 + max((entry.node.depth for entry in entries.values()), default=0)
    return Mapping(node.mark, entries, size, depth)
