"""The state of an endpoint: the table of its transitions, the one way to change it, and what follows from it.

Theory
    An endpoint's state has separate axes, and none is ever written because of another:

        health    observed   UNKNOWN, UP, DOWN       what probes have shown
        admin     ordered    READY, DRAIN, MAINT     what the file or an operator wants
        weight    ordered    0 to 256                its share; 0 takes no new sessions
        agent     reported   READY, DRAIN, MAINT     what the endpoint's own agent wants
        percent   reported   0 to 256                how much of the weight its agent lets it have
        ejected   inferred   True, False             it failed sessions in a row, and is set aside for a while
        ramp      derived    1 to 10                 tenths of its share, while it comes back (slow start)

    From these `eligible` is derived, for a whole pool at once, by one function below: an endpoint is
    eligible if it is UP, READY by order and by its agent, and has a weight: the ordered one (the operator's,
    else the file's) times the agent's percentage. Neither the operator nor the agent can undo what the other
    wants. One that is set aside comes only where no other would be left. Where that leaves none, those that
    nothing is known about are presumed to serve (UNKNOWN, READY, with a weight), unless their check says
    `initial: unknown`. An endpoint is UNKNOWN when it was added later, when its check or address changed,
    and when it comes back from MAINT, until its first probe, which runs at once; so a pool whose check was
    edited never goes dark meanwhile.

    A change has a cause and leaves one record, and the records are complete: an endpoint is born UNKNOWN,
    READY and not eligible, and whoever replays its records arrives at its state.

    MAINT stops probes, so what was known of health grows old. It is kept to be shown and forgotten at the
    end of MAINT (to UNKNOWN), not at its beginning: the operator sees what it was when the work began.

Rejected
    One flag that says whether an endpoint is usable: two writers with different reasons overwrite each
    other (an operator's drain ends when a probe passes). A state of its own for a weight of
    0: it is a weight.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from fractions import Fraction
from typing import NamedTuple

from lb.balance.levels import loads
from lb.core.state import RAMP_FULL, EndpointState, PoolState
from lb.model.cause import Cause
from lb.model.endpoint import Admin, Agent, Health
from lb.model.pool import OnAllDown
from lb.model.record import Record

State = Health | Admin | Agent

ORDER = frozenset({Cause.OPERATOR, Cause.CONFIG})
PROBE = frozenset({Cause.PROBE})
# UP without a probe: there is no check (any more), or `initial: up` held at process start.
PROBE_OR_TRUST = frozenset({Cause.PROBE, Cause.CONFIG})
# What was known no longer holds: the check changed, MAINT ended, or the endpoint came back into the file.
DOUBT = frozenset({Cause.CONFIG, Cause.OPERATOR})
REPORT = frozenset({Cause.AGENT})
REPORT_OR_DOUBT = REPORT | DOUBT

# From, to, by which causes. What is not here cannot happen.
TRANSITIONS: Mapping[State, Mapping[State, frozenset[Cause]]] = {
    Health.UNKNOWN: {Health.UP: PROBE_OR_TRUST, Health.DOWN: PROBE},
    Health.UP: {Health.DOWN: PROBE, Health.UNKNOWN: DOUBT},
    Health.DOWN: {Health.UP: PROBE_OR_TRUST, Health.UNKNOWN: DOUBT},
    Agent.READY: {Agent.DRAIN: REPORT, Agent.MAINT: REPORT},
    Agent.DRAIN: {Agent.READY: REPORT_OR_DOUBT, Agent.MAINT: REPORT},
    Agent.MAINT: {Agent.READY: REPORT_OR_DOUBT, Agent.DRAIN: REPORT},
    Admin.READY: {Admin.DRAIN: ORDER, Admin.MAINT: ORDER},
    Admin.DRAIN: {Admin.READY: ORDER, Admin.MAINT: ORDER},
    Admin.MAINT: {Admin.READY: ORDER, Admin.DRAIN: ORDER},
}


class Axis(Enum):
    """The value is the name of the field, and `axis` of the record."""

    HEALTH = "health"
    ADMIN = "admin"
    WEIGHT = "weight"
    AGENT = "agent"
    AGENT_PERCENT = "agent_percent"
    EJECTED = "ejected"
    RAMP = "ramp"
    ELIGIBLE = "eligible"


Level = tuple[int, bool]


class Serving(NamedTuple):
    """Who gets new sessions of a pool; the load of each level that carries some; and whether health is
    ignored, and levels with it."""

    endpoints: list[EndpointState]
    loads: Mapping[Level, Fraction]
    panics: bool


class IllegalTransition(Exception):
    """A defect of lb's own: the table does not know this change. The state is as it was."""


def eligible(endpoints: Iterable[EndpointState]) -> list[EndpointState]:
    """Those of one pool that new sessions go to. Removed endpoints are no longer among a pool's endpoints."""
    invited = [each for each in endpoints if is_invited(each)]
    proven = [each for each in invited if each.health is Health.UP]
    return (
        [each for each in proven if not each.ejected]
        or proven
        or [each for each in invited if is_presumed(each)]
    )


def serving(pool: PoolState) -> Serving:
    """Too few may be worse than some that are DOWN: those that are left would be overrun, or the fault may be
    in how we look. So where the pool says so, all that are READY serve, whatever is known of their health."""
    found = eligible(pool.endpoints.values())
    invited = [each for each in pool.endpoints.values() if is_invited(each)]
    too_few = 100 * len(found) < pool.pool.panic_percent * len(invited)
    if too_few or (not found and pool.pool.on_all_down is OnAllDown.ANY):
        return Serving(invited, {}, len(invited) > len(found))
    carrying = loads_of(pool, found, invited)
    return Serving([each for each in found if carrying.get(each.level, 1)], carrying, False)


def loads_of(
    pool: PoolState, found: Sequence[EndpointState], invited: Sequence[EndpointState]
) -> Mapping[Level, Fraction]:
    """Of each level; empty where there is one."""
    levels = sorted({each.level for each in invited})
    if len(levels) < 2:
        return {}
    full = RAMP_FULL if pool.ramping else 1
    able, whole = Counter[Level](), Counter[Level]()
    for each in found:
        able[each.level] += each.able
    for each in invited:
        whole[each.level] += each.weight_effective * full
    parts = [(able[level], whole[level]) for level in levels]
    return dict(zip(levels, loads(parts, pool.pool.overprovision_percent), strict=True))


def is_invited(endpoint: EndpointState) -> bool:
    ready = endpoint.admin is Admin.READY and endpoint.agent is Agent.READY
    return ready and endpoint.weight_effective > 0


def is_presumed(endpoint: EndpointState) -> bool:
    """Nothing is known of it, and where nothing else serves it is taken to."""
    return endpoint.health is Health.UNKNOWN and endpoint.checked_by.initial_up


def change(
    endpoint: EndpointState, axis: Axis, to: State | int, cause: Cause, evidence: str, now: float
) -> Record | None:
    """The one way to change an axis. None if it stands there already; otherwise the record of the change."""
    before: State | int = getattr(endpoint, axis.value)
    if before == to:
        return None
    if isinstance(before, State) and (
        not isinstance(to, State) or cause not in TRANSITIONS[before].get(to, ())
    ):
        raise IllegalTransition(f"{endpoint}: {axis.value} {before} to {to} by {cause}")
    setattr(endpoint, axis.value, to)
    if axis not in (Axis.WEIGHT, Axis.AGENT_PERCENT, Axis.RAMP):
        endpoint.since_s = now
    if isinstance(to, State):
        endpoint.transitions[to.value, cause.value] += 1
    facts = {
        "pool": endpoint.key.pool,
        "endpoint": endpoint.key.endpoint,
        "id": endpoint.id,
        "axis": axis.value,
        "from": before.value if isinstance(before, State) else before,
        "to": to.value if isinstance(to, State) else to,
        "cause": cause.value,
        "evidence": evidence,
    }
    return Record("endpoint_changed", level_of(axis, to, cause), facts)


def level_of(axis: Axis, to: State | int, cause: Cause) -> str:
    """What follows from something already said, or from the file, is for those who look closely."""
    if to is Health.DOWN or (axis is Axis.EJECTED and to):
        return "warning"
    if axis is Axis.AGENT_PERCENT or (axis is Axis.RAMP and cause is Cause.SLOW_START):
        return "debug"
    follows = axis is Axis.ELIGIBLE or (axis is Axis.HEALTH and cause is not Cause.PROBE)
    return "debug" if follows else "info"
