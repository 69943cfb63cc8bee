"""Changing an endpoint: each axis through `transitions.change`, and then what follows from the change.

    health UP      its share grows slowly, where the pool says so
    health DOWN    its sessions are closed after `close_after_s`, unless it is UP again by then
    admin MAINT    probes stop; at its end what was known is forgotten, and a probe runs at once
    admin, agent   a drain begins or ends
    any            what is eligible in its pool is derived again

The file (reload.py), the operator (orders.py) and the probes (observations.py) all come through here, so what
follows does not depend on who asked.
"""

from __future__ import annotations

from lb.core import drains, ejections, probes, ramps
from lb.core.agenda import Entry, Need
from lb.core.commands import CloseSessions, Emit
from lb.core.memory import Memory
from lb.core.state import CheckState, EndpointState
from lb.core.transitions import Axis, State, change
from lb.model.cause import Cause, Reason
from lb.model.endpoint import Admin, Agent, Health


def set_health(
    memory: Memory, endpoint: EndpointState, to: Health, cause: Cause, evidence: str, now: float
) -> None:
    if not changed(memory, endpoint, Axis.HEALTH, to, cause, evidence, now):
        return
    if to is Health.UP:
        ejections.begin_anew(endpoint)
        if cause is not Cause.CONFIG and endpoint.was_up:
            ramps.begin(memory, endpoint, cause, now)
        endpoint.was_up = True
    else:
        ramps.end(memory, endpoint, cause, evidence, now)
    if to is Health.DOWN:
        ejections.give_over(memory, endpoint, now)
        endpoint.down_since_s = now
        plan_close(memory, endpoint, now)
    elif to is Health.UP:
        memory.agenda.clear(Entry(Need.CLOSE, endpoint.id))


def set_admin(
    memory: Memory, endpoint: EndpointState, to: Admin, cause: Cause, evidence: str, now: float
) -> None:
    before = endpoint.admin
    if not changed(memory, endpoint, Axis.ADMIN, to, cause, evidence, now):
        return
    if to is Admin.MAINT:
        probes.stop(memory, endpoint)
    elif before is Admin.MAINT:
        observe_anew(memory, endpoint, cause, "MAINT ended", now)
    drains.follow(memory, endpoint, now)


def set_agent(
    memory: Memory, endpoint: EndpointState, to: Agent, cause: Cause, evidence: str, now: float
) -> None:
    if changed(memory, endpoint, Axis.AGENT, to, cause, evidence, now):
        drains.follow(memory, endpoint, now)


def set_agent_percent(
    memory: Memory, endpoint: EndpointState, to: int, cause: Cause, evidence: str, now: float
) -> None:
    if changed(memory, endpoint, Axis.AGENT_PERCENT, to, cause, evidence, now):
        memory.draft.put_endpoint(endpoint)


def set_weight(
    memory: Memory, endpoint: EndpointState, to: int, cause: Cause, evidence: str, now: float
) -> None:
    if changed(memory, endpoint, Axis.WEIGHT, to, cause, evidence, now):
        memory.draft.put_endpoint(endpoint)


def observe_anew(memory: Memory, endpoint: EndpointState, cause: Cause, evidence: str, now: float) -> None:
    """Nothing that was known holds. Without a check it is UP; with one, the first probe runs at once."""
    forget_observed(memory, endpoint)
    set_agent(memory, endpoint, Agent.READY, cause, evidence, now)
    set_agent_percent(memory, endpoint, 100, cause, evidence, now)
    if not endpoint.checks:
        set_health(memory, endpoint, Health.UP, cause, "it has no check", now)
        return
    set_health(memory, endpoint, Health.UNKNOWN, cause, evidence, now)
    if endpoint.admin is not Admin.MAINT:
        for each in endpoint.checks:
            probes.plan(memory, endpoint, each, now)


def forget_observed(memory: Memory, endpoint: EndpointState) -> None:
    probes.stop(memory, endpoint)
    checks = endpoint.checked_by = endpoint.pool.checks
    endpoint.checks = [CheckState(place, check) for place, check in enumerate(checks.each)]


def plan_close(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """When an endpoint went DOWN, and again when its pool's `close_after_s` changed."""
    entry, after_s = Entry(Need.CLOSE, endpoint.id), endpoint.pool.pool.close_after_s
    if after_s is None or endpoint.health is not Health.DOWN:
        memory.agenda.clear(entry)
    else:
        memory.agenda.set(entry, max(now, endpoint.down_since_s + after_s))


def close(memory: Memory, endpoint: EndpointState) -> None:
    """It has been DOWN long enough."""
    memory.commands.append(CloseSessions(Reason.ENDPOINT_DOWN, endpoint_id=endpoint.id))


def changed(
    memory: Memory,
    endpoint: EndpointState,
    axis: Axis,
    to: State | int,
    cause: Cause,
    evidence: str,
    now: float,
) -> bool:
    record = change(endpoint, axis, to, cause, evidence, now)
    if record is None:
        return False
    memory.commands.append(Emit(record))
    memory.unsettled[endpoint.key.pool] = cause
    return True
