"""Variations of a snapshot: other keys of all its listeners, or of all its pools."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lb.model.networks import Networks
from lb.model.pool import HashOn
from lb.model.snapshot import HashTable, Snapshot

BY_NAME = HashTable(HashOn.SNI, 0, bytes(16), 0, ())  # whatever the policy: the ClientHello is read


def with_listener(snapshot: Snapshot, **keys: Any) -> Snapshot:
    lines = [line and replace(line, **keys) for line in snapshot.listeners]
    return replace(snapshot, listeners=tuple(lines))


def with_pool(snapshot: Snapshot, **keys: Any) -> Snapshot:
    return replace(snapshot, pools=tuple([line and replace(line, **keys) for line in snapshot.pools]))


def changed(
    snapshot: Snapshot, *, listener: dict[str, Any] | None = None, pool: dict[str, Any] | None = None
) -> Snapshot:
    return with_pool(with_listener(snapshot, **listener or {}), **pool or {})


def networks(*texts: str) -> Networks:
    return Networks.parse(texts)
