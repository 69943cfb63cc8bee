"""The text that Prometheus reads: families, declared once, and the lines that they make of what is observed.

The lines are written here and not by prometheus_client: a pool of a thousand endpoints is sixty thousand
samples, which take it 0.3 s of the loop, and this a tenth of that. Tests read the text back with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate
from typing import Generic, TypeVar

from lb.shell.counts import Histogram

Subject = TypeVar("Subject")
Value = float | Histogram | Mapping[str, int] | Mapping[tuple[str, ...], int]

ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass(frozen=True, slots=True)
class Family(Generic[Subject]):
    """One metric. `value` takes it from a subject; where it is a mapping, its keys are the labels `by`."""

    kind: str
    name: str
    help: str
    value: Callable[[Subject], Value]
    by: tuple[str, ...] = ()

    def lines(self, subjects: Iterable[tuple[str, Subject]]) -> Iterator[str]:
        """Each subject comes with its labels, as `labels()` writes them."""
        yield f"# HELP {self.name} {self.help}"
        yield f"# TYPE {self.name} {self.kind}"
        for label, subject in subjects:
            value = self.value(subject)
            if isinstance(value, Histogram):
                yield from _histogram(self.name, label, value)
            elif isinstance(value, Mapping):
                for key, number in value.items():
                    words = (key,) if isinstance(key, str) else key
                    yield _line(self.name, _joined(label, labels(zip(self.by, words, strict=True))), number)
            else:
                yield _line(self.name, label, value)


def labels(pairs: Iterable[tuple[str, str]]) -> str:
    """What stands between the braces."""
    return ",".join(f'{name}="{value.translate(ESCAPES)}"' for name, value in pairs)


def _histogram(name: str, label: str, histogram: Histogram) -> Iterator[str]:
    cumulative = list(accumulate(histogram.counts))
    for bound, count in zip(_bounds(histogram.bounds), cumulative, strict=True):
        yield _line(f"{name}_bucket", _joined(label, bound), count)
    yield _line(f"{name}_sum", label, histogram.sum)
    yield _line(f"{name}_count", label, cumulative[-1])


@lru_cache(maxsize=16)
def _bounds(bounds: tuple[float, ...]) -> tuple[str, ...]:
    return (*(f'le="{float(bound)}"' for bound in bounds), 'le="+Inf"')


def _joined(label: str, more: str) -> str:
    return f"{label},{more}" if label else more


def _line(name: str, label: str, value: float) -> str:
    return f"{name}{{{label}}} {value}" if label else f"{name} {value}"
