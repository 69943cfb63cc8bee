"""What differs between two configurations, in the words of the file, and what of it takes a restart.

Listeners, pools and endpoints are known by their names: a new name is one added, an old name with other
content is one changed. Order in the file means nothing, except among binds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Literal

from lb.config.problem import Problem
from lb.model.address import Address, UnixAddress
from lb.model.config import Config
from lb.model.networks import Networks

# The fields of Config besides listeners and pools.
SETTINGS = ("workers", "sessions_max", "user", "runtime_dir", "shutdown", "admin", "log")

# Fields that are called otherwise in the file.
KEYS = {
    "binds": "bind",
    "close_after_s": "on_down",
    "initial_up": "initial",
    "jitter_percent": "jitter",
    "question": "type",
}
# Of a check: what it asks and how it speaks TLS have no key of their own, theirs stand beside the others.
FLAT = ("question", "tls")
UNIT = "_s"

# What is compared as one value: it has no keys of its own in the file.
WHOLE = (Address, UnixAddress, Networks)

Kind = Literal["added", "removed", "changed"]


@dataclass(frozen=True, slots=True)
class Change:
    """`noun` is `listener`, `pool`, `endpoint` or `settings`; `fields` are keys, and only of what changed."""

    kind: Kind
    noun: str
    name: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = " ".join(filter(None, (self.noun, self.name, self.kind)))
        return f"{what}: {', '.join(self.fields)}" if self.fields else what


@dataclass(frozen=True, slots=True)
class Diff:
    """`changes` are in an order in which they can be made: what others need comes first and goes last.

    `warnings` are about keys that differ and have no effect before a restart; they are not in `changes`.
    """

    changes: tuple[Change, ...]
    warnings: tuple[Problem, ...]

    def __bool__(self) -> bool:
        return bool(self.changes or self.warnings)


def diff(old: Config, new: Config, *, file: str = "") -> Diff:
    """`file` is how the warnings call the new configuration."""
    old_pools, new_pools = by_name(old.pools), by_name(new.pools)
    effective = apply_kept(old, new)
    settings = tuple(differing_settings(old, effective))
    pools = list(members("pool", old_pools, new_pools, apart="endpoints"))
    endpoints = [
        change
        for name, pool in new_pools.items()
        for change in members(
            "endpoint",
            by_name(old_pools[name].endpoints if name in old_pools else (), f"{name}/"),
            by_name(pool.endpoints, f"{name}/"),
        )
    ]
    listeners = list(members("listener", by_name(old.listeners), by_name(new.listeners)))
    going = [change for change in (*listeners, *endpoints, *pools) if change.kind == "removed"]
    coming = [change for change in (*pools, *endpoints, *listeners) if change.kind != "removed"]
    changes = [Change("changed", "settings", "", settings)] if settings else []
    return Diff((*changes, *coming, *going), tuple(kept(effective, new, file)))


def apply_kept(old: Config, new: Config) -> Config:
    """`new`, with the values of `old` where only a restart changes them: workers were started with them."""
    return replace(
        new,
        workers=old.workers,
        sessions_max=old.sessions_max,
        user=old.user,
        runtime_dir=old.runtime_dir,
        shutdown=replace(new.shutdown, orphan_s=old.shutdown.orphan_s),
        admin=old.admin,
        log=replace(new.log, access=old.log.access),
    )


def kept(effective: Config, new: Config, file: str) -> Iterator[Problem]:
    for key in differing_settings(effective, new):
        yield Problem(file, 0, 0, key, "changed, which takes a restart; the old value stays until then")


def differing_settings(old: Config, new: Config) -> Iterator[str]:
    for name in SETTINGS:
        yield from differing(getattr(old, name), getattr(new, name), name)


def by_name(members: Iterable[Any], prefix: str = "") -> dict[str, Any]:
    return {prefix + member.name: member for member in members}


def members(noun: str, old: Mapping[str, Any], new: Mapping[str, Any], apart: str = "") -> Iterator[Change]:
    """`apart` is a field that is compared elsewhere."""
    for name, member in new.items():
        if name not in old:
            yield Change("added", noun, name)
        elif keys := tuple(key for key in differing(old[name], member) if key != apart):
            yield Change("changed", noun, name, keys)
    for name in old:
        if name not in new:
            yield Change("removed", noun, name)


def differing(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """The keys, `timeouts.idle`, by which two values of the model differ."""
    if old == new:
        return
    if not is_section(old) or type(old) is not type(new):
        yield path
        return
    for field in fields(old):
        was, now = getattr(old, field.name), getattr(new, field.name)
        flat = field.name in FLAT and is_section(was) and is_section(now)
        yield from differing(was, now, path if flat else joined(path, key_of(field.name)))


def is_section(value: Any) -> bool:
    return is_dataclass(value) and not isinstance(value, WHOLE)


def key_of(field: str) -> str:
    return KEYS.get(field) or field.removesuffix(UNIT)


def joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
