"""What the shell shows of an endpoint: a copy, so that what was shown does not change behind the reader."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lb.core.state import EndpointState
from lb.model.address import SocketAddress
from lb.model.check import Certificate, Check, ProbeResult
from lb.model.endpoint import Admin, EndpointKey, Health


@dataclass(frozen=True, slots=True)
class EndpointView:
    """Times are in the seconds of `now`.

    `since_s`: the last change of health, admin or eligible. `streak`: +n passes or -n failures in a row.
    `last_run_s`: when the last probe that counted ended; `next_run_s`: when the next is planned, None while
    one runs. `transitions` counts changes of health and admin by (to, cause). `removed`: it left the
    configuration and drains; another endpoint may bear the same key by now. `drained`: it drains, and has
    had no session since every worker knew that.
    """

    id: int
    key: EndpointKey
    address: SocketAddress
    health: Health
    admin: Admin
    eligible: bool
    weight: int
    weight_effective: int
    sessions_max: int
    since_s: float
    removed: bool
    drained: bool
    streak: int
    last_result: ProbeResult | None
    last_run_s: float | None
    next_run_s: float | None
    certificate: Certificate | None
    transitions: Mapping[tuple[str, str], int]
    check: Check | None


def view(state: EndpointState, next_run_s: float | None) -> EndpointView:
    return EndpointView(
        id=state.id,
        key=state.key,
        address=state.endpoint.address,
        health=state.health,
        admin=state.admin,
        eligible=state.eligible,
        weight=state.weight,
        weight_effective=state.weight,
        sessions_max=state.endpoint.sessions_max,
        since_s=state.since_s,
        removed=state.removed,
        drained=state.is_drained,
        streak=state.streak,
        last_result=state.last_result,
        last_run_s=state.last_run_s,
        next_run_s=next_run_s,
        certificate=state.certificate,
        transitions=dict(state.transitions),
        check=state.check,
    )
