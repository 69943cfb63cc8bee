"""Slow start: an endpoint that comes back gets a tenth of its share, then two tenths, and so on.

It may have cold caches, and everybody's sessions would go to it at once under policies that count them.
Shares are whole numbers; so while an endpoint of a pool ramps, the weights of all are counted in tenths.

    begins    when probes find it UP that was DOWN, or was looked at anew after lb started (MAINT, a new one);
              when it returns from an ejection; never at the start of lb
    ends      after slow_start; or when it is DOWN or ejected again
"""

from __future__ import annotations

from lb.core.agenda import Entry, Need
from lb.core.commands import Emit
from lb.core.memory import Memory
from lb.core.state import RAMP_FULL, EndpointState
from lb.core.transitions import Axis, change
from lb.model.cause import Cause

FIRST = 1


def begin(memory: Memory, endpoint: EndpointState, cause: Cause, now: float) -> None:
    slow_start_s = endpoint.pool.pool.slow_start_s
    if slow_start_s > 0:
        endpoint.ramp_from_s = now
        set_ramp(memory, endpoint, FIRST, cause, f"slow start over {slow_start_s:g} s", now)
        plan(memory, endpoint)


def step(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """A tenth of the time has passed."""
    since_s = now - endpoint.ramp_from_s
    set_ramp(memory, endpoint, endpoint.ramp + 1, Cause.SLOW_START, f"{since_s:.1f} s since", now)
    plan(memory, endpoint)


def follow(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """The pool's slow_start changed."""
    if endpoint.pool.pool.slow_start_s > 0:
        plan(memory, endpoint)
    else:
        end(memory, endpoint, Cause.CONFIG, "the configuration says so", now)


def end(memory: Memory, endpoint: EndpointState, cause: Cause, evidence: str, now: float) -> None:
    """It has its whole share, or gets no sessions for other reasons."""
    set_ramp(memory, endpoint, RAMP_FULL, cause, evidence, now)
    plan(memory, endpoint)


def plan(memory: Memory, endpoint: EndpointState) -> None:
    entry = Entry(Need.RAMP, endpoint.id)
    if endpoint.ramp == RAMP_FULL:
        memory.agenda.clear(entry)
    else:
        step_s = endpoint.pool.pool.slow_start_s / RAMP_FULL
        memory.agenda.set(entry, endpoint.ramp_from_s + endpoint.ramp * step_s)


def set_ramp(
    memory: Memory, endpoint: EndpointState, to: int, cause: Cause, evidence: str, now: float
) -> None:
    record = change(endpoint, Axis.RAMP, to, cause, evidence, now)
    if record is None:
        return
    memory.commands.append(Emit(record))
    memory.unsettled.setdefault(endpoint.key.pool, cause)
    pool = endpoint.pool
    (pool.ramping.discard if to == RAMP_FULL else pool.ramping.add)(endpoint.id)
    memory.draft.put_endpoint(endpoint)  # for its sessions_max
