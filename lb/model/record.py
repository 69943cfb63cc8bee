"""An event record: one for every change of state, for the log and the API."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """`event` is a past participle in snake case (`endpoint_changed`, `config_loaded`, `worker_lost`).

    `facts` are JSON values. `level` is `debug`, `info`, `warning` or `error`.
    """

    event: str
    level: str = "info"
    facts: dict[str, Any] = field(default_factory=dict)
