"""Endpoints that fail sessions in a row are set aside, and return.

A failure that sessions see says more than one that a probe sees, and less: a probe that passes may be blind
to it, and a session may fail for its client's reasons. So a return is by time, and sooner where the check
passes `rise` times in a row after the ejection; but only the first time: an endpoint that is ejected again
has a check that does not see what its sessions see, and serves its time. One that its check finds DOWN is no
longer set aside: its check sees enough.
"""

from __future__ import annotations

from collections.abc import Mapping

from lb.core import ramps
from lb.core.agenda import Entry, Need
from lb.core.commands import Emit
from lb.core.memory import Memory
from lb.core.state import CheckState, EndpointState
from lb.core.transitions import Axis, change, is_invited
from lb.health.ejection import ejected_max, ejection_s
from lb.model.cause import Cause
from lb.model.endpoint import Health
from lb.model.pool import OutlierRule

WITHHELD_EVERY_S = 10.0  # records that say so, per pool


def count(endpoint: EndpointState, in_row: int) -> None:
    """So many sessions failed there without one that did not, all in all."""
    if in_row < endpoint.in_row_before:  # it is another row
        endpoint.in_row_before = 0
    endpoint.in_row = in_row


def begin_anew(endpoint: EndpointState) -> None:
    """It comes back: the row of before is not held against it."""
    endpoint.in_row_before = endpoint.in_row


def consider(memory: Memory, endpoint: EndpointState, reasons: Mapping[str, int], now: float) -> None:
    """Sessions failed there. In a panic nobody is set aside: they would serve all the same."""
    rule, in_row = endpoint.pool.pool.outlier, endpoint.in_row - endpoint.in_row_before
    if rule is None or in_row < rule.consecutive_failures or not endpoint.eligible or endpoint.ejected:
        return
    if endpoint.pool.panics:
        return
    counted = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
    why = f"{in_row} sessions failed in a row: {counted}"
    if may_eject(endpoint, rule):
        eject(memory, endpoint, rule, why, now)
    elif now >= endpoint.pool.withheld_told_s + WITHHELD_EVERY_S:
        endpoint.pool.withheld_told_s = now
        facts = {"pool": endpoint.key.pool, "endpoint": endpoint.key.endpoint, "evidence": why}
        memory.emit("ejection_withheld", facts, "warning")


def may_eject(endpoint: EndpointState, rule: OutlierRule) -> bool:
    others = [each for each in endpoint.pool.endpoints.values() if each is not endpoint]
    ejected = sum(each.ejected for each in others)
    serving = sum(is_invited(each) and each.health is Health.UP and not each.ejected for each in others)
    return ejected < ejected_max(rule, len(others) + 1) and serving >= max(1, rule.min_eligible)


def eject(memory: Memory, endpoint: EndpointState, rule: OutlierRule, why: str, now: float) -> None:
    if now - endpoint.returned_s > rule.ejection_max_s:
        endpoint.ejections = 0
    endpoint.ejections += 1
    endpoint.ejections_total += 1
    endpoint.ejected_s = now
    for each in endpoint.checks:
        each.passes_since = 0
    seconds = ejection_s(rule, endpoint.ejections)
    set_ejected(memory, endpoint, True, f"{why}; set aside for {seconds:g} s", now)
    ramps.end(memory, endpoint, Cause.OUTLIER, "it is ejected", now)
    memory.agenda.set(Entry(Need.RETURN, endpoint.id), now + seconds)


def come_back(memory: Memory, endpoint: EndpointState, why: str, now: float) -> None:
    memory.agenda.clear(Entry(Need.RETURN, endpoint.id))
    endpoint.returned_s = now
    begin_anew(endpoint)
    set_ejected(memory, endpoint, False, why, now)
    if endpoint.health is Health.UP:
        ramps.begin(memory, endpoint, Cause.OUTLIER, now)


def give_over(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """Its check has found it DOWN, so that is not blind: from now on the check decides."""
    endpoint.ejections = 0
    forget(memory, endpoint, "its check has found it DOWN", now)


def forget(memory: Memory, endpoint: EndpointState, why: str, now: float) -> None:
    """Nobody asks any more whether it is set aside."""
    memory.agenda.clear(Entry(Need.RETURN, endpoint.id))
    set_ejected(memory, endpoint, False, why, now)


def note_probe(memory: Memory, endpoint: EndpointState, each: CheckState, ok: bool, now: float) -> None:
    """A probe of an endpoint that is set aside ended. What an agent says is no proof that it serves."""
    if each.probe_started_s < endpoint.ejected_s or endpoint.ejections > 1 or each.check.asks_agent:
        return
    each.passes_since = each.passes_since + 1 if ok else 0
    proven = [one.passes_since >= one.check.rise for one in endpoint.checks if not one.check.asks_agent]
    if (any if endpoint.checked_by.any_suffices else all)(proven):
        come_back(memory, endpoint, f"{each.passes_since} probes passed in a row since", now)


def set_ejected(memory: Memory, endpoint: EndpointState, to: bool, evidence: str, now: float) -> None:
    record = change(endpoint, Axis.EJECTED, to, Cause.OUTLIER, evidence, now)
    if record is not None:
        memory.commands.append(Emit(record))
        memory.unsettled.setdefault(endpoint.key.pool, Cause.OUTLIER)
