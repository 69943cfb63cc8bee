"""One table of a snapshot while it is being written: a line for each stable id, None for a free one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

Line = TypeVar("Line")


class Lines(Generic[Line]):
    """`is_touched`: something was put or taken since it was sealed; the sum of it may be what was sealed."""

    def __init__(self) -> None:
        self.is_touched = False
        self._lines: list[Line | None] = []

    def __getitem__(self, number: int) -> Line | None:
        return self._lines[number] if number < len(self._lines) else None

    def __iter__(self) -> Iterator[Line | None]:
        return iter(self._lines)

    def put(self, number: int, line: Line) -> None:
        if self[number] == line:
            return
        self._lines += [None] * (number + 1 - len(self._lines))
        self._lines[number] = line
        self.is_touched = True

    def take(self, number: int) -> None:
        self._lines[number] = None
        while self._lines and self._lines[-1] is None:
            self._lines.pop()
        self.is_touched = True

    def sealed(self) -> tuple[Line | None, ...]:
        self.is_touched = False
        return tuple(self._lines)
