"""Durations as people write them: a decimal number and a unit, always both."""

from __future__ import annotations

import re

from lb.config.problem import BadValue, quoted

# Unit -> (multiplied by, divided by): dividing keeps 1200ms exactly 1.2.
DURATION_UNITS = {"ms": (1, 1000), "s": (1, 1), "m": (60, 1), "h": (3600, 1), "d": (86400, 1)}

DURATION_PATTERN = r"[0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d)"

QUANTITY = re.compile(r"([0-9.]+)\s*([A-Za-z]*)")


def duration_s(text: str) -> float:
    """`500ms`, `2s`, `1.5h` in seconds."""
    if not re.fullmatch(DURATION_PATTERN, text):
        raise BadValue(f"{quoted(text)} is not a duration", "write for example 500ms, 2s, 10m, 1h or 1d")
    number, unit = split(text)
    times, by = DURATION_UNITS[unit]
    return float(number) * times / by


def show_duration(seconds: float) -> str:
    """The shortest exact way to write it; `duration_s` reads it back."""
    for unit in ("d", "h", "m", "s"):
        size = DURATION_UNITS[unit][0]
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds * 1000:.6f}".rstrip("0").rstrip(".") + "ms" if seconds else "0s"


def split(text: str) -> tuple[str, str]:
    match = QUANTITY.fullmatch(text)
    assert match
    return match[1], match[2]
