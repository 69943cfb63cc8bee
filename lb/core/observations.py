"""What is seen of an endpoint: results of probes, which decide, and failures of sessions, which do not.

A failed session proves nothing about the endpoint alone (the client's deadline, a full queue, our own
limits), so it never changes health; it brings the next probe forward, and that one decides. Several in a row
set the endpoint aside for a while (lb/core/ejections.py).
"""

from __future__ import annotations

from collections.abc import Sequence

from lb.core import ejections, probes
from lb.core.axes import set_agent, set_agent_percent, set_health
from lb.core.events import ProbeFinished, SessionsFailed
from lb.core.memory import Memory
from lb.core.state import CheckState, EndpointState
from lb.health.damping import DOWNS_MAX, hold_down_s
from lb.health.plan import next_run
from lb.health.streak import extended, verdict
from lb.model.cause import Cause
from lb.model.check import AgentQuery, Certificate, MysqlLogin, PostgresLogin, ProbeResult, Program
from lb.model.endpoint import Health

PERCENT_STEP = 5
PROBE_GAP_S = 0.1  # between the starts of two probes that failed sessions asked for
COSTLY = (Program, PostgresLogin, MysqlLogin, AgentQuery)  # for us, or for the endpoint
DAY_S = 86400.0
CERTIFICATE_WARN_S = 14 * DAY_S  # an automatic renewal comes 30 days before the end: this one is late


def probe_finished(memory: Memory, event: ProbeFinished, now: float) -> None:
    endpoint = memory.live.get(event.key)
    running = endpoint.checks if endpoint else ()
    each = next((each for each in running if each.probe == event.probe), None)
    if endpoint is None or each is None:
        return  # it was cancelled while its result was on the way
    each.probe = None
    if event.late and not event.result.ok:
        probes.plan(memory, endpoint, each, now)
        return
    each.last_result, each.last_run_s = event.result, now
    note_certificate(memory, endpoint, each, event.result.certificate)
    if each.check.asks_agent:
        heed(memory, endpoint, each, event.result, now)
    else:
        each.streak = extended(each.streak, event.result.ok)
        judge(each, verdict(each.health, each.streak, each.check), now)
    if (health := combined(endpoint.checks, endpoint.checked_by.any_suffices)) is not None:
        set_health(memory, endpoint, health, Cause.PROBE, evidence(endpoint, each, now), now)
    if endpoint.ejected:
        ejections.note_probe(memory, endpoint, each, event.result.ok, now)
    at_s = next_run(each.check, each.health, each.streak, each.probe_started_s, now=now, seeded=memory.random)
    probes.plan(memory, endpoint, each, at_s)


def judge(each: CheckState, proven: Health, now: float) -> None:
    """The verdict of one check, unless it is held DOWN."""
    if each.health is Health.DOWN and now < each.held_until_s:
        return
    if proven is Health.DOWN and each.health is not Health.DOWN and each.check.damping is not None:
        each.held_until_s = now + hold_down_s(each.check.damping, each.downs_s, now)
        each.downs_s = (*each.downs_s[1 - DOWNS_MAX :], now)
    each.health = proven


def heed(memory: Memory, endpoint: EndpointState, each: CheckState, result: ProbeResult, now: float) -> None:
    """An agent knows: its word holds at once, and until its next about the same. That it does not answer says
    nothing about the endpoint."""
    words = result.agent
    if words is None:
        return
    if words.up is not None:
        each.agent_said_down = not words.up
    each.streak = extended(each.streak, not each.agent_said_down)
    judge(each, Health.DOWN if each.agent_said_down else Health.UP, now)
    evidence = f"its agent: {result.detail}"
    if words.wish is not None:
        set_agent(memory, endpoint, words.wish, Cause.AGENT, evidence, now)
    if words.percent is not None and is_news(words.percent, endpoint.agent_percent):
        set_agent_percent(memory, endpoint, words.percent, Cause.AGENT, evidence, now)


def is_news(percent: int, before: int) -> bool:
    """Many agents report their load, which is another each time; a snapshot for every point would be too
    many."""
    return percent in (0, 100) or before == 0 or abs(percent - before) >= PERCENT_STEP


def combined(checks: Sequence[CheckState], any_suffices: bool) -> Health | None:
    """What they show together; None: no more than before, for one that has no verdict yet would decide. An
    agent that was never heard decides nothing, where others do."""
    checks = [each for each in checks if not is_unheard(each)] or checks
    decisive, other = (Health.UP, Health.DOWN) if any_suffices else (Health.DOWN, Health.UP)
    if any(each.health is decisive for each in checks):
        return decisive
    return other if all(each.health is other for each in checks) else None


def is_unheard(each: CheckState) -> bool:
    return each.check.asks_agent and each.health is Health.UNKNOWN


def note_certificate(
    memory: Memory, endpoint: EndpointState, each: CheckState, shown: Certificate | None
) -> None:
    """Two records for each certificate: that it expires soon, and that it has expired."""
    if shown is None:
        return
    each.certificate = shown
    stage = (shown.expires_s, shown.left_s < 0)
    if shown.left_s > CERTIFICATE_WARN_S or each.certificate_warned == stage:
        return
    each.certificate_warned = stage
    facts = {"pool": endpoint.key.pool, "endpoint": endpoint.key.endpoint, "expires_s": shown.expires_s}
    if shown.left_s < 0:
        memory.emit("certificate_expired", facts, "error")
    else:
        memory.emit("certificate_expires", facts | {"days_left": int(shown.left_s / DAY_S)}, "warning")


def evidence(endpoint: EndpointState, each: CheckState, now: float) -> str:
    """Which check it was stands before, where there are several."""
    which = f"{each.check.type}: " if len(endpoint.checks) > 1 else ""
    detail = each.last_result.detail if each.last_result else ""
    word = "passed" if each.streak > 0 else "failed"
    held_s = each.held_until_s - now
    held = f"; held DOWN for {held_s:.0f} s, it flaps" if each.health is Health.DOWN and held_s > 0 else ""
    return f"{which}{abs(each.streak)} in a row {word}: {detail}{held}"


def sessions_failed(memory: Memory, event: SessionsFailed, now: float) -> None:
    """Not for an endpoint that is DOWN: that sessions still fail there is no news."""
    endpoint = memory.endpoints.get(event.endpoint_id)
    if endpoint is None:
        return
    ejections.count(endpoint, event.in_row)
    if endpoint.health is Health.DOWN:
        return
    ejections.consider(memory, endpoint, event.reasons, now)
    for each in endpoint.checks:
        planned_s = probes.planned_s(memory, endpoint, each)
        if planned_s is not None:
            costly = isinstance(each.check.question, COSTLY)
            gap_s = each.check.interval_changing_s if costly else PROBE_GAP_S
            at_s = min(planned_s, max(now, each.probe_started_s + gap_s))
            probes.plan(memory, endpoint, each, at_s)
