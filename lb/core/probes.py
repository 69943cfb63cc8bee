"""Probes that run and probes that are planned: at most one of either for an endpoint, and never both.

Invariants
    An endpoint without a check, in MAINT, or removed has neither.
    A result counts only if it bears the number of the probe that runs.
"""

from __future__ import annotations

from lb.core.agenda import Entry, Need
from lb.core.commands import CancelProbe, StartProbe
from lb.core.memory import Memory
from lb.core.state import EndpointState
from lb.model.endpoint import Admin


def plan(memory: Memory, endpoint: EndpointState, at_s: float) -> None:
    memory.agenda.set(Entry(Need.PROBE, endpoint.id), at_s)


def planned_s(memory: Memory, endpoint: EndpointState) -> float | None:
    return memory.agenda.at(Entry(Need.PROBE, endpoint.id))


def start(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """The plan came due."""
    check = endpoint.check
    assert check is not None and endpoint.probe is None and endpoint.admin is not Admin.MAINT, endpoint
    endpoint.probe = next(memory.probe_numbers)
    endpoint.probe_started_s = now
    target = check.target(endpoint.endpoint.address)
    memory.commands.append(StartProbe(endpoint.probe, endpoint.key, target, check))


def stop(memory: Memory, endpoint: EndpointState) -> None:
    """Nothing runs and nothing is planned any more."""
    memory.agenda.clear(Entry(Need.PROBE, endpoint.id))
    if endpoint.probe is not None:
        memory.commands.append(CancelProbe(endpoint.probe))
        endpoint.probe = None
