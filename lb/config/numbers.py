"""The kinds of values that are numbers: counts, shares, durations, sizes, modes, statuses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import isqrt
from typing import Any

from lb.config.leaf import REFERENCE_PATTERN, Leaf, matching
from lb.config.problem import BadValue, quoted
from lb.config.units import (
    DURATION_PATTERN,
    DURATION_UNITS,
    SIZE_PATTERN,
    SIZE_UNITS,
    duration_s,
    show_duration,
    show_size,
    size_bytes,
)


@dataclass(frozen=True)
class Count(Leaf):
    """A whole number, in decimal."""

    minimum: int
    maximum: int
    of: str = ""

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool) and self.minimum <= value <= self.maximum:
            return value
        several = self.minimum < self.maximum
        wanted = f"a whole number from {self.minimum} to {self.maximum}" if several else self.minimum
        raise BadValue(f"{quoted(value)} is not {wanted}", decimal_hint(value))

    def show(self, value: Any) -> Any:
        return value

    def json(self) -> dict[str, Any]:
        # `minimum` concerns numbers alone, and `pattern` text alone.
        bounds = {"minimum": self.minimum, "maximum": self.maximum}
        return {"type": ["integer", "string"], **bounds, "pattern": REFERENCE_PATTERN}

    def range(self) -> str:
        return f"{self.minimum} to {self.maximum}" if self.minimum < self.maximum else str(self.minimum)

    def unit(self) -> str:
        return self.of


@dataclass(frozen=True)
class ZeroOr(Count):
    """0, which means that there is none, or a whole number that is far from it."""

    def read(self, value: object) -> int:
        if value == 0 and not isinstance(value, bool):
            return 0
        try:
            return super().read(value)
        except BadValue as error:
            wanted = f"neither 0 nor a whole number from {self.minimum} to {self.maximum}"
            raise BadValue(f"{quoted(value)} is {wanted}", error.suggestion) from None

    def json(self) -> dict[str, Any]:
        return {"anyOf": [{"const": 0}, super().json()]}

    def range(self) -> str:
        return f"0; {super().range()}"


def decimal_hint(value: object) -> str | None:
    """How to write a number that was written in another way."""
    if not isinstance(value, str):
        return None
    if value.isdecimal():
        return "write it without quotes and leading zeros"
    if re.fullmatch(r"[0-9]{1,9}%", value):
        return f"write {int(value[:-1])}"
    if re.fullmatch(r"0x[0-9A-Fa-f]{1,16}", value):
        return f"write it in decimal: {int(value, 16)}"
    return None


@dataclass(frozen=True)
class Prime(Count):
    """The size of a table that is to be walked in steps of any length."""

    def read(self, value: object) -> int:
        number = super().read(value)
        if is_prime(number):
            return number
        following = next((n for n in range(number, self.maximum + 1) if is_prime(n)), None)
        hint = f"the next one is {following}" if following else None
        raise BadValue(f"{number} is not a prime number", hint)

    def range(self) -> str:
        return f"a prime number, {super().range()}"


def is_prime(number: int) -> bool:
    if number < 4 or number % 2 == 0:
        return number in (2, 3)
    return all(number % factor for factor in range(3, isqrt(number) + 1, 2))


@dataclass(frozen=True)
class Percent(Leaf):
    maximum: int = 100

    def read(self, value: object) -> int:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}%", value) and int(value[:-1]) <= self.maximum:
            return int(value[:-1])
        raise BadValue(f"{quoted(value)} is not a share from 0% to {self.maximum}%")

    def show(self, value: Any) -> Any:
        return f"{value}%"

    def json(self) -> dict[str, Any]:
        return matching("[0-9]{1,3}%")

    def range(self) -> str:
        return f"0% to {self.maximum}%"

    def unit(self) -> str:
        return "%"


@dataclass(frozen=True)
class Duration(Leaf):
    """In seconds, between two durations. `whole`: no fractions, for what the kernel counts in seconds."""

    minimum: str
    maximum: str
    whole: bool = False

    def read(self, value: object) -> float:
        if not isinstance(value, str):
            hint = f"write {value}s or {value}ms" if type(value) is int else "write for example 2s"
            raise BadValue(f"{quoted(value)} is not a duration", hint)
        seconds = duration_s(value)
        if not duration_s(self.minimum) <= seconds <= duration_s(self.maximum):
            raise BadValue(f"{quoted(value)} is not between {self.minimum} and {self.maximum}")
        if not self.whole:
            return seconds
        if seconds % 1:
            raise BadValue(f"{quoted(value)} is not a whole number of seconds")
        return int(seconds)

    def show(self, value: Any) -> Any:
        return show_duration(value)

    def json(self) -> dict[str, Any]:
        return matching(DURATION_PATTERN)

    def range(self) -> str:
        return f"{self.minimum} to {self.maximum}"

    def unit(self) -> str:
        return "seconds" if self.whole else ", ".join(DURATION_UNITS)


@dataclass(frozen=True)
class Size(Leaf):
    """In bytes, up to a size: `10MiB`, or a number of bytes."""

    maximum: str
    of: str = "bytes"

    def read(self, value: object) -> int:
        if isinstance(value, int) and not isinstance(value, bool):
            size = value
        elif isinstance(value, str):
            size = size_bytes(value)
        else:
            raise BadValue(f"{quoted(value)} is not a size", "write for example 64KiB or 10MiB")
        if not 0 <= size <= size_bytes(self.maximum):
            raise BadValue(f"{quoted(value)} is not between 0 and {self.maximum}")
        return size

    def show(self, value: Any) -> Any:
        return show_size(value)

    def json(self) -> dict[str, Any]:
        return {**matching(SIZE_PATTERN), "type": ["integer", "string"], "minimum": 0}

    def range(self) -> str:
        return f"0 to {self.maximum}"

    def unit(self) -> str:
        return f"{self.of}; {', '.join(SIZE_UNITS)}"


@dataclass(frozen=True)
class FileMode(Leaf):
    """Of a file, in octal. That is text: an integer of this file is decimal."""

    def read(self, value: object) -> int:
        if isinstance(value, str) and re.fullmatch("0?[0-7]{3}", value):
            return int(value, 8)
        hint = 'write for example "0660"'
        if isinstance(value, int) and re.fullmatch("[0-7]{3}", str(value)):
            hint = f'write it in octal and in quotes: "0{value}"'
        raise BadValue(f"{quoted(value)} is not the mode of a file", hint)

    def show(self, value: Any) -> Any:
        return f"{value:04o}"

    def json(self) -> dict[str, Any]:
        return matching("0?[0-7]{3}")

    def range(self) -> str:
        return '"0000" to "0777", in octal'


@dataclass(frozen=True)
class StatusRange(Leaf):
    """`404`, or `200-399`, both ends included."""

    def read(self, value: object) -> tuple[int, int]:
        if match := re.fullmatch(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", str(value), re.ASCII):
            first, last = int(match[1]), int(match[2] or match[1])
            if first <= last:
                return first, last
        raise BadValue(f"{quoted(value)} is not an HTTP status", "write for example 404, or 200-399")

    def show(self, value: Any) -> Any:
        first, last = value
        return first if first == last else f"{first}-{last}"

    def json(self) -> dict[str, Any]:
        return {**matching("[1-5][0-9]{2}(-[1-5][0-9]{2})?"), "type": ["string", "integer"]}

    def range(self) -> str:
        return "100 to 599, or a range of them"
