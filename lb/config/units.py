"""Durations and sizes as people write them: a decimal number and a unit. Without one it is no duration, and a
size in bytes."""

from __future__ import annotations

import re
from decimal import Decimal

from lb.config.problem import BadValue, quoted

# Unit -> (multiplied by, divided by): dividing keeps 1200ms exactly 1.2.
DURATION_UNITS = {"ms": (1, 1000), "s": (1, 1), "m": (60, 1), "h": (3600, 1), "d": (86400, 1)}

DURATION_PATTERN = r"[0-9]{1,12}(\.[0-9]{1,6})?(ms|s|m|h|d)"

# Powers of two alone: what MB means is not agreed on.
SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
MEANT_UNITS = {
    "kb": "KiB",
    "k": "KiB",
    "mb": "MiB",
    "m": "MiB",
    "gb": "GiB",
    "g": "GiB",
    "tb": "TiB",
    "t": "TiB",
}

SIZE_PATTERN = r"[0-9]{1,15}(\.[0-9]{1,6})?(B|KiB|MiB|GiB|TiB)"

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


def size_bytes(text: str) -> int:
    """`64KiB`, `1.5MiB` in bytes; a part of a byte is left off."""
    if not re.fullmatch(SIZE_PATTERN, text):
        raise BadValue(f"{quoted(text)} is not a size", size_hint(text))
    number, unit = split(text)
    return int(Decimal(number) * SIZE_UNITS[unit])


def size_hint(text: str) -> str:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)", text)
    if match and (unit := MEANT_UNITS.get(match[2].lower().removesuffix("b").removesuffix("i"))):
        return f"write {match[1]}{unit}"
    if text.isdecimal():
        return "write a number of bytes without quotes and leading zeros"
    return "write for example 64KiB or 10MiB"


def show_size(size: int) -> int | str:
    """The shortest exact way to write it; `size_bytes` reads the ones with a unit back."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % SIZE_UNITS[unit] == 0:
            return f"{size // SIZE_UNITS[unit]}{unit}"
    return size


def split(text: str) -> tuple[str, str]:
    match = QUANTITY.fullmatch(text)
    assert match
    return match[1], match[2]
