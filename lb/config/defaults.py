"""`defaults:` -> under every listener and pool, in the tree, so that a value keeps the line it stands in.

Mappings are completed key by key; anything else that a listener or pool says itself stands. A check is
completed by one of the same type, or of none; one of another type has nothing to give. In a group of checks
that holds for each. A pool that has no `check` gets one that has a type, or a group, whole; `check: null`
stays none, and so do `allow: null` and the like.
"""

from __future__ import annotations

from collections.abc import Collection

from lb.config.check_section import GROUPS, is_known
from lb.config.listener_section import ListenerSection
from lb.config.pool_section import PoolSection
from lb.config.tree import Entry, Mapping, Node, Scalar, Sequence


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
    entries = {}
    for name, entry in members.entries.items():
        member = with_group_completed(entry.node, under.get("check"))
        entries[name] = Entry(entry.key, over(member, own_defaults(member, under)))
    return made(members, entries)


def with_group_completed(member: Node, given: Node | None) -> Node:
    """The member; where its check is a group, with each of them completed."""
    check = member.entries.get("check") if isinstance(member, Mapping) else None
    group = group_of(check.node) if check else None
    if group is None or not isinstance(given, Mapping):
        return member
    assert isinstance(member, Mapping) and check is not None and isinstance(check.node, Mapping)
    completed = {**check.node.entries, group: each_check_over(check.node.entries[group], given)}
    return made(member, {**member.entries, "check": Entry(check.key, made(check.node, completed))})


def own_defaults(member: Node, under: Mapping) -> Mapping:
    """`under`, with no more of a check than concerns this member."""
    own = member.entries.get("check") if isinstance(member, Mapping) else None
    under = without(under, [key for key in NONE_MEANT if is_null(member, key)])
    given = under.entries.get("check")
    if given is None or not isinstance(given.node, Mapping):
        return under
    if own is None:
        whole = type_of(given.node) is not None or group_of(given.node) is not None
        return under if whole else without(under, ("check",))
    check = concerning(given.node, own.node)
    if check is None:
        return without(under, ("check",))
    return made(under, {**under.entries, "check": Entry(given.key, check)})


def each_check_over(group: Entry, under: Mapping) -> Entry:
    if not isinstance(group.node, Sequence):
        return group
    checks = []
    for each in group.node.items:
        given = concerning(under, each)
        checks.append(each if given is None else over(each, given))
    size = 1 + sum(check.size for check in checks)
    depth = 1 + max((check.depth for check in checks), default=0)
    return Entry(group.key, Sequence(group.node.mark, checks, size, depth))


def concerning(check: Mapping, own: Node) -> Mapping | None:
    """Of a check, what one that the file has may take from it; None: nothing."""
    apart = group_of(check) is not None or group_of(own) is not None
    if apart or not isinstance(own, Mapping) or type_of(check) not in (None, type_of(own)):
        return None
    kind = type_of(own)
    if isinstance(kind, str):
        return only(check, [key for key in check.entries if is_known(key, kind)])
    return check


def group_of(check: Node) -> str | None:
    """`all` or `any`, where it is a group."""
    return next((key for key in GROUPS if isinstance(check, Mapping) and key in check.entries), None)


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
