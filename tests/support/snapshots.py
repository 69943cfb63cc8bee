"""Variations of a snapshot: other keys of all its listeners, or of all its pools."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lb.model.networks import Networks
from lb.model.snapshot import Snapshot


def with_listener(snapshot: Snapshot, **keys: Any) -> Snapshot:
    lines = [line and replace(line, **keys) for line in snapshot.listeners]
    return replace(snapshot, listeners=tuple(lines))


def with_pool(snapshot: Snapshot, **keys: Any) -> Snapshot:
    return replace(snapshot, pools=tuple([line and replace(line, **keys) for line in snapshot.pools]))


def networks(*texts: str) -> Networks:
    return Networks.parse(texts)
