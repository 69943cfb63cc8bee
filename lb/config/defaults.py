"""`defaults:` -> under every listener and pool, in the tree, so that a value keeps the line it stands in.

Mappings are completed key by key; anything else that a listener or pool says itself stands. A check is
completed by one of the same type, or of none; one of another type has nothing to give. A pool that has no
`check` gets one that has a type, whole; `check: null` stays none, and so do `allow: null` and the like.
"""

from __future__ import annotations

from collections.abc import Collection

from lb.config.check_section import is_known
from lb.config.listener_section import ListenerSection
from lb.config.pool_section import PoolSection
from lb.config.tree import Entry, Mapping, Node, Scalar


def with_defaults(root: Mapping) -> Mapping:
    """A new root; nodes are shared with the old one."""
    given = root.get("defaults")
    if not isinstance(given, Mapping):
        return root
    listener = only(given, ListenerSection.fields())
    pool = only(given, PoolSection.fields())
    entries = dict(root.entries)
    for key, under in (("listeners", listener), ("pools", pool)):
        entry = entries.get(key)
        if entry and isinstance(entry.node, Mapping):
            entries[key] = Entry(entry.key, each_over(entry.node, under))
    return made(root, entries)


# Where the file says null of these, it means none, not an empty section.
NONE_MEANT = ("allow", "deny", "accept_proxy")


def each_over(members: Mapping, under: Mapping) -> Mapping:
    entries = {
        name: Entry(entry.key, over(entry.node, own_defaults(entry.node, under)))
        for name, entry in members.entries.items()
    }
    return made(members, entries)


def own_defaults(member: Node, under: Mapping) -> Mapping:
    """`under`, with no more of a check than concerns this member."""
    own = member.get("check") if isinstance(member, Mapping) else None
    under = without(under, [key for key in NONE_MEANT if is_null(member, key)])
    check = under.get("check")
    if not isinstance(check, Mapping):
        return under
    if own is None:
        keep = type_of(check) is not None
    else:
        keep = isinstance(own, Mapping) and type_of(check) in (None, type_of(own))
    if not keep:
        return without(under, ("check",))
    kind = type_of(own)
    if isinstance(kind, str):
        check = only(check, [key for key in check.entries if is_known(key, kind)])
    return made(under, {**under.entries, "check": Entry(under.entries["check"].key, check)})


def is_null(member: Node, key: str) -> bool:
    node = member.get(key) if isinstance(member, Mapping) else None
    return isinstance(node, Scalar) and node.value is None


def type_of(check: Node | None) -> object:
    kind = check.get("type") if isinstance(check, Mapping) else None
    return kind.value if isinstance(kind, Scalar) else None


def over(node: Node, under: Node) -> Node:
    """`node`, completed by `under`. Where that is a mapping, an empty key (`tcp:`) is an empty one."""
    if not isinstance(under, Mapping):
        return node
    if isinstance(node, Scalar) and node.value is None:
        node = Mapping(node.mark)
    if not isinstance(node, Mapping):
        return node
    entries = dict(under.entries)
    for key, entry in node.entries.items():
        beneath = under.get(key)
        entries[key] = Entry(entry.key, over(entry.node, beneath)) if beneath else entry
    return made(node, entries)


def without(node: Mapping, keys: Collection[str]) -> Mapping:
    return only(node, [key for key in node.entries if key not in keys])


def only(node: Mapping, keys: Collection[str]) -> Mapping:
    return made(node, {key: entry for key, entry in node.entries.items() if key in keys})


def made(node: Mapping, entries: dict[str, Entry]) -> Mapping:
    size = 1 + sum(1 + entry.node.size for entry in entries.values())
    depth = 1 + max((entry.node.depth for entry in entries.values()), default=0)
    return Mapping(node.mark, entries, size, depth)
