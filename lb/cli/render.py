"""Tables and words for people: rich on a terminal, plain aligned text in a pipe.

A `Sheet` is the one form in between, so both show the same; colour only underlines what a word already says.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

STYLES = {  # by the first word of a cell
    "UP": "green",
    "DOWN": "bold red",
    "UNKNOWN": "yellow",
    "DRAIN": "yellow",
    "MAINT": "yellow",
    "REMOVED": "yellow",
    "no": "bold red",
    "silent": "bold red",
    "dead": "bold red",
}


@dataclass(frozen=True)
class Sheet:
    """A column whose header ends in `>` is aligned to the right: it holds numbers."""

    headers: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def show(sheets: Iterable[Sheet]) -> None:
    """Writes to stdout, a blank line before each sheet."""
    if sys.stdout.isatty():
        _show_in_colour(sheets)
    else:
        for sheet in sheets:
            print()
            print("\n".join(plain(sheet)))


def plain(sheet: Sheet) -> list[str]:
    """Columns two spaces apart, without trailing blanks."""
    right = [header.endswith(">") for header in sheet.headers]
    table = [tuple(header.rstrip(">") for header in sheet.headers), *sheet.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ).rstrip()
        for row in table
    ]


def _show_in_colour(sheets: Iterable[Sheet]) -> None:
    """NO_COLOR is rich's own business; it keeps the bold and drops the colours."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    for sheet in sheets:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for header in sheet.headers:
            to_right = header.endswith(">")
            table.add_column(
                header.rstrip(">"),
                justify="right" if to_right else "left",
                no_wrap=to_right,
                overflow="fold",  # of an address no character may go
            )
        for row in sheet.rows:
            table.add_row(*(Text(cell, style=STYLES.get(cell.split(" ")[0], "")) for cell in row))
        console.print()
        console.print(table)


def warn(text: str) -> None:
    """One line on stderr; yellow where that is a terminal that wants colours."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    print(f"\033[33m{text}\033[0m" if colour else text, file=sys.stderr)


def duration(seconds: float) -> str:
    """Two units at most, for a person's eye: `0s`, `12s`, `3m 5s`, `2h 40m`, `9d 3h`."""
    left, words = max(round(seconds), 0), list[str]()
    for unit, unit_s in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, unit_s)
        if count:
            words.append(f"{count}{unit}")
        elif words:
            break
    return " ".join(words[:2]) or "0s"


def size(count_bytes: int) -> str:
    """Binary units: `0 B`, `999 B`, `1.5 KiB`, `20 GiB`."""
    amount, units = float(count_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while amount >= 1000 and len(units) > 1:
        amount /= 1024
        del units[0]
    return f"{amount:.0f} {units[0]}" if units[0] == "B" or amount >= 10 else f"{amount:.1f} {units[0]}"
