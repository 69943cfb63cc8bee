"""/metrics: which series there are. What they mean is in families.py.

Labels come from the configuration alone: no client adds a series. Every series exists from the start, with
zeros, so that the first event is a rise and not a birth. An endpoint that was removed keeps its series until
it has drained; where another one took its name, only its open sessions still count.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

from lb import __version__
from lb.model.endpoint import Admin, EndpointKey
from lb.shell.counts import Histogram
from lb.shell.exposition import labels
from lb.shell.families import (
    BUILD,
    CHECK,
    CHECK_OVER_TLS,
    ENDPOINT,
    LISTENER,
    LOOP_LAG,
    PANIC,
    POOL,
    POOL_COUNTS,
    WHOLE,
    WORKER,
    Member,
    Worker,
)
from lb.shell.observed import EndpointView, Observed

NO_ENDPOINTS = dict.fromkeys(
    ("configured", "eligible", "up", "down", "unknown", "drain", "maint", "removed"), 0
)


class Exposition:
    """The process_* metrics are the supervisor's own, from a registry that nothing else is in."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)

    def render(self, observed: Observed) -> bytes:
        return "\n".join([*lines(observed), ""]).encode() + generate_latest(self._registry)


def lines(observed: Observed) -> list[str]:
    listeners = [
        (labels([("listener", each.name)]), observed.board.listener(observed.listener_ids[each.name]))
        for each in observed.config.listeners
    ]
    endpoints = [
        (labels([("pool", key.pool), ("endpoint", key.endpoint)]), m) for key, m in members(observed)
    ]
    counted = [
        (labels([("pool", each.name)]), observed.board.pool(observed.pool_ids[each.name]))
        for each in observed.config.pools
    ]
    checked = [(label, member) for label, member in endpoints if member.view.checks]
    workers = [
        (
            labels([("worker", str(each.index))]),
            Worker(each.restarts_total, observed.board.worker(each.index)),
        )
        for each in observed.workers
    ]
    found: list[str] = []
    for listener in LISTENER:
        found += listener.lines(listeners)
    for endpoint in ENDPOINT:
        found += endpoint.lines(endpoints)
    for check in CHECK:
        found += check.lines(checked)
    over_tls = [(label, member) for label, member in checked if is_over_tls(member)]
    for check in CHECK_OVER_TLS:
        found += check.lines(over_tls)
    found += POOL.lines((labels([("pool", name)]), states) for name, states in pools(observed).items())
    found += PANIC.lines(
        (labels([("pool", each.name)]), each.name in observed.panicking) for each in observed.config.pools
    )
    for pool in POOL_COUNTS:
        found += pool.lines(counted)
    for worker in WORKER:
        found += worker.lines(workers)
    found += LOOP_LAG.lines(lags(observed))
    for one in WHOLE:
        found += one.lines([("", observed)])
    return found + BUILD.lines([(labels([("version", __version__)]), 1)])


def is_over_tls(member: Member) -> bool:
    return any(each.check.tls for each in member.view.checks)


def members(observed: Observed) -> Iterator[tuple[EndpointKey, Member]]:
    """One for each name. Of several with one name, the others were removed and drain."""
    counts = {view.id: observed.board.endpoint(view.id) for view in observed.endpoints}
    sessions_open: Counter[EndpointKey] = Counter()
    named: dict[EndpointKey, EndpointView] = {}
    for view in observed.endpoints:
        sessions_open[view.key] += counts[view.id].sessions_open
        if view.key not in named or not view.removed:
            named[view.key] = view
    for key, view in named.items():
        duration = observed.check_duration(key)
        yield key, Member(view, counts[view.id], sessions_open[key], duration, check_age_s(observed, view))


def check_age_s(observed: Observed, view: EndpointView) -> float:
    """Before the first run, since the endpoint came; of several checks, the oldest."""
    if view.removed or view.admin is Admin.MAINT or not view.checks:
        return math.nan
    runs_s = [view.since_s if each.last_run_s is None else each.last_run_s for each in view.checks]
    return max(0.0, observed.now_s - min(runs_s))


def pools(observed: Observed) -> Mapping[str, Mapping[str, int]]:
    found = {pool.name: dict(NO_ENDPOINTS) for pool in observed.config.pools}
    for view in observed.endpoints:
        states = found.setdefault(view.key.pool, dict(NO_ENDPOINTS))
        if view.removed:
            states["removed"] += 1
            continue
        states["configured"] += 1
        states["eligible"] += view.eligible
        states[view.health.value.lower()] += 1
        if (wanted := view.agent if view.admin is Admin.READY else view.admin).value != "READY":
            states[wanted.value.lower()] += 1
    return found


def lags(observed: Observed) -> Iterator[tuple[str, Histogram]]:
    yield labels([("process", "supervisor")]), observed.loop_lag
    for each in observed.workers:
        yield (
            labels([("process", f"worker-{each.index}")]),
            observed.board.worker(each.index).loop_lag_seconds,
        )
