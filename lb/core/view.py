"""What the shell shows of an endpoint: a copy, so that what was shown does not change behind the reader."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lb.core.agenda import Entry, Need
from lb.core.memory import Memory
from lb.core.probes import planned_s
from lb.core.state import RAMP_FULL, CheckState, EndpointState
from lb.model.address import SocketAddress
from lb.model.check import Certificate, Check, ProbeResult
from lb.model.endpoint import Admin, Agent, EndpointKey, Health


@dataclass(frozen=True, slots=True)
class CheckView:
    """One check of an endpoint. `health` is its own verdict. `streak`: +n passes or -n failures in a row.
    `last_run_s`: when the last probe that counted ended; `next_run_s`: when the next is planned, None while
    one runs. `certificate`: the last that it was shown. `held_until_s`: DOWN at least until then; it may be
    past."""

    check: Check
    health: Health
    streak: int
    last_result: ProbeResult | None
    last_run_s: float | None
    next_run_s: float | None
    certificate: Certificate | None
    held_until_s: float


@dataclass(frozen=True, slots=True)
class EndpointView:
    """Times are in the seconds of `now`.

    `since_s`: the last change of health, admin, agent or eligible. `transitions` counts changes of these but
    the last by (to, cause). `removed`: it left the configuration and drains; another endpoint may bear the
    same key by now. `drained`: it drains, and has had no session since every worker knew that. `checks`: all
    must pass, or any. `returns_s`: when it is no longer `ejected`; None: it is not.
    """

    id: int
    key: EndpointKey
    address: SocketAddress
    health: Health
    admin: Admin
    agent: Agent
    ejected: bool
    returns_s: float | None
    ejections_total: int
    eligible: bool
    weight: int
    weight_effective: int
    priority: int
    zone: str | None
    ramp_percent: int
    sessions_max: int
    since_s: float
    removed: bool
    drained: bool
    transitions: Mapping[tuple[str, str], int]
    checks: Sequence[CheckView]
    any_suffices: bool


def view(memory: Memory, state: EndpointState) -> EndpointView:
    return EndpointView(
        id=state.id,
        key=state.key,
        address=state.endpoint.address,
        health=state.health,
        admin=state.admin,
        agent=state.agent,
        ejected=state.ejected,
        returns_s=memory.agenda.at(Entry(Need.RETURN, state.id)),
        ejections_total=state.ejections_total,
        eligible=state.eligible,
        weight=state.weight,
        weight_effective=state.weight_effective,
        priority=state.endpoint.priority,
        zone=state.endpoint.zone,
        ramp_percent=100 * state.ramp // RAMP_FULL,
        sessions_max=state.endpoint.sessions_max,
        since_s=state.since_s,
        removed=state.removed,
        drained=state.is_drained,
        transitions=dict(state.transitions),
        checks=[check_view(each, planned_s(memory, state, each)) for each in state.checks],
        any_suffices=state.checked_by.any_suffices,
    )


def check_view(state: CheckState, next_run_s: float | None) -> CheckView:
    return CheckView(
        check=state.check,
        health=state.health,
        streak=state.streak,
        last_result=state.last_result,
        last_run_s=state.last_run_s,
        next_run_s=next_run_s,
        certificate=state.certificate,
        held_until_s=state.held_until_s,
    )
