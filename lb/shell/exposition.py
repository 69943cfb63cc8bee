"""The text that Prometheus reads: families, declared once, and the lines that they make of what is observed.

The lines are written here and not by prometheus_client: a pool of a thousand endpoints is sixty thousand
samples, which take it 0.5 s of the loop, and this a tenth of that. Tests read the text back with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Generic, TypeVar

from lb.shell.counts import Histogram

Subject = TypeVar("Subject")
Value = float | Histogram | Mapping[str, int] | Mapping[tuple[str, str], int]

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True, slots=True)
class Family(Generic[Subject]):
    """One metric. `value` takes it from a subject; where it is a mapping, its keys are the labels `by`."""

    kind: str
    name: str
    help: str
    value: Callable[[Subject], Value]
    by: tuple[str, ...] = ()

    def lines(self, subjects: Iterable[tuple[str, Subject]]) -> list[str]:
        """Each subject comes with its labels, as `labels()` writes them."""
        lines = [f"# HELP {self.name} {self.help}", f"# TYPE {self.name} {self.kind}"]
        for label, subject in subjects:
            value = self.value(subject)
            if isinstance(value, Histogram):
                lines += _histogram(self.name, label, value)
            elif isinstance(value, int | float):
                lines.append(_line(self.name, label, value))
            else:
                for key, number in value.items():
                    more = _labels_of(self.by, (key,) if isinstance(key, str) else key)
                    lines.append(f"{self.name}{{{label}{',' if label else ''}{more}}} {number}")
        return lines


def labels(pairs: Iterable[tuple[str, str]]) -> str:
    """What stands between the braces."""
    return ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in pairs)


def _histogram(name: str, label: str, histogram: Histogram) -> list[str]:
    head = f"{name}_bucket{{{label}{',' if label else ''}"
    cumulative = list(accumulate(histogram.counts))
    lines = [
        f"{head}{bound}{count}" for bound, count in zip(_bounds(histogram.bounds), cumulative, strict=True)
    ]
    return [*lines, _line(f"{name}_sum", label, histogram.sum), _line(f"{name}_count", label, cumulative[-1])]


def _line(name: str, label: str, value: float) -> str:
    return f"{name}{{{label}}} {value}" if label else f"{name} {value}"


@lru_cache(maxsize=1024)
def _labels_of(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """For labels that come from a closed list."""
    return labels(zip(names, values, strict=True))


@lru_cache(maxsize=16)
def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    """How a bucket's line goes on after the labels."""
    return (*(f'le="{float(bound)}"}} ' for bound in bounds), 'le="+Inf"} ')
