"""/metrics as numbers, and a watch over it: no counter falls, whichever processes behind it come and go."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]


class Exposition:
    """One scrape. Histograms are there by their samples (`_bucket`, `_sum`, `_count`)."""

    def __init__(self, text: str) -> None:
        self.samples: dict[tuple[str, Labels], float] = {}
        self.counters: set[tuple[str, Labels]] = set()
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                self.samples[key] = sample.value
                if family.type in ("counter", "histogram") and not sample.name.endswith("_created"):
                    self.counters.add(key)

    def each(self, name: str, **labels: str) -> dict[Labels, float]:
        wanted = set(labels.items())
        return {found: value for (n, found), value in self.samples.items() if n == name and wanted <= found}

    def sum(self, name: str, **labels: str) -> float:
        """Over every series of that name with these labels. Raises KeyError when there is none."""
        found = self.each(name, **labels)
        if not found:
            raise KeyError(f"{name}{labels or ''} is not in /metrics")
        return sum(found.values())


class CounterWatch:
    """Scrapes all along, in a thread, and writes down each counter that fell or went away, and each scrape
    that failed."""

    def __init__(self, scrape: Callable[[], Exposition], *, every_s: float = 0.1) -> None:
        self.scrape, self.every_s = scrape, every_s
        self.complaints: list[str] = []
        self.scrapes = 0
        self._last: Exposition | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> CounterWatch:
        self._look()
        self._thread.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self._over.set()
        self._thread.join()
        if error[0] is None:
            self._look()

    def _watch(self) -> None:
        while not self._over.wait(self.every_s):
            self._look()

    def _look(self) -> None:
        try:
            now = self.scrape()
        except OSError as error:
            self.complaints.append(f"a scrape failed: {error}")
            return
        self.scrapes += 1
        for key in self._last.counters if self._last else ():
            before, after = self._last.samples[key], now.samples.get(key)
            if after is None or after < before:
                self.complaints.append(f"{key[0]}{dict(key[1])}: {before} -> {after}")
        self._last = now
