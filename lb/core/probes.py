"""Probes that run and probes that are planned: at most one of either for a check of an endpoint, never both.

Invariants
    An endpoint without a check, in MAINT, or removed has neither.
    A result counts only if it bears the number of a probe that runs.
"""

from __future__ import annotations

from lb.core.agenda import Entry, Need
from lb.core.commands import CancelProbe, StartProbe
from lb.core.memory import Memory
from lb.core.state import CheckState, EndpointState
from lb.model.endpoint import Admin


def plan(memory: Memory, endpoint: EndpointState, each: CheckState, at_s: float) -> None:
    memory.agenda.set(Entry(Need.PROBE, endpoint.id, each.place), at_s)


def planned_s(memory: Memory, endpoint: EndpointState, each: CheckState) -> float | None:
    return memory.agenda.at(Entry(Need.PROBE, endpoint.id, each.place))


def start(memory: Memory, endpoint: EndpointState, each: CheckState, now: float) -> None:
    """The plan came due."""
    assert each.probe is None and endpoint.admin is not Admin.MAINT, endpoint
    each.probe = next(memory.probe_numbers)
    each.probe_started_s = now
    target = each.check.target(endpoint.endpoint.address)
    memory.commands.append(StartProbe(each.probe, endpoint.key, target, each.check))


def stop(memory: Memory, endpoint: EndpointState) -> None:
    """Nothing runs and nothing is planned any more."""
    for each in endpoint.checks:
        memory.agenda.clear(Entry(Need.PROBE, endpoint.id, each.place))
        if each.probe is not None:
            memory.commands.append(CancelProbe(each.probe))
            each.probe = None
