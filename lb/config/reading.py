"""Looking into a tree that may be wrong anywhere: what is not of the kind asked for is not there."""

from __future__ import annotations

from lb.config.addresses import bind_count, read_bind, read_ip_port, read_unix
from lb.config.problem import BadValue
from lb.config.tree import Mapping, Node, Scalar, Sequence
from lb.model.address import UNIX_PREFIX, SocketAddress


def members(root: Mapping, key: str) -> list[tuple[str, Mapping]]:
    """The listeners or pools that are mappings."""
    node = root.get(key)
    entries = node.entries.items() if isinstance(node, Mapping) else ()
    return [(name, entry.node) for name, entry in entries if isinstance(entry.node, Mapping)]


def items(node: Node | None) -> list[Node]:
    """A list, or the one value that stands for it."""
    match node:
        case Sequence(items=listed):
            return listed
        case Scalar(value=value) if value is not None:
            return [node]
    return []


def text(node: Mapping, key: str) -> str | None:
    found = node.get(key)
    if not isinstance(found, Scalar) or found.value is None or isinstance(found.value, bool):
        return None
    return str(found.value)


def number(node: Mapping, key: str) -> int | None:
    found = node.get(key)
    value = found.value if isinstance(found, Scalar) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(node: Mapping, key: str) -> bool:
    found = node.get(key)
    return isinstance(found, Scalar) and found.value is True


def address_of(node: Node | None) -> SocketAddress | None:
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return None
    try:
        return read_unix(node.value) if node.value.startswith(UNIX_PREFIX) else read_ip_port(node.value)
    except BadValue:
        return None


def binds_of(node: Node | None) -> tuple[SocketAddress, ...]:
    """All that one entry of `bind` stands for."""
    if not isinstance(node, Scalar) or not isinstance(node.value, str):
        return ()
    try:
        return read_bind(node.value)
    except BadValue:
        return ()


def count_binds(node: Node | None) -> int:
    return bind_count(node.value) if isinstance(node, Scalar) and isinstance(node.value, str) else 1
