"""How tests run probes: on both loops, as a fixture of theirs asks for."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from lb.model.check import ProbeResult

Run = Callable[[Coroutine[Any, Any, ProbeResult]], ProbeResult]
