"""What is seen of an endpoint: results of probes, which decide, and failures of sessions, which do not.

A failed connection proves nothing about the endpoint alone (the client's deadline, a full queue, our own
limits), so it never changes health; it brings the next probe forward, and that one decides.
"""

from __future__ import annotations

from lb.core import probes
from lb.core.axes import set_health
from lb.core.events import ConnectFailed, ProbeFinished
from lb.core.memory import Memory
from lb.core.state import EndpointState
from lb.health.plan import next_run
from lb.health.streak import extended, verdict
from lb.model.cause import Cause
from lb.model.check import Certificate
from lb.model.endpoint import Health

PROBE_GAP_S = 0.1  # between the starts of two probes that failed sessions asked for
DAY_S = 86400.0
CERTIFICATE_WARN_S = 14 * DAY_S  # an automatic renewal comes 30 days before the end: this one is late


def probe_finished(memory: Memory, event: ProbeFinished, now: float) -> None:
    endpoint = memory.live.get(event.key)
    if endpoint is None or endpoint.probe != event.probe or endpoint.check is None:
        return  # it was cancelled while its result was on the way
    endpoint.probe = None
    if event.late and not event.result.ok:
        probes.plan(memory, endpoint, now)
        return
    endpoint.streak = extended(endpoint.streak, event.result.ok)
    endpoint.last_result, endpoint.last_run_s = event.result, now
    note_certificate(memory, endpoint, event.result.certificate)
    health = verdict(endpoint.health, endpoint.streak, endpoint.check)
    set_health(memory, endpoint, health, Cause.PROBE, evidence(endpoint), now)
    at_s = next_run(
        endpoint.check, health, endpoint.streak, endpoint.probe_started_s, now=now, seeded=memory.random
    )
    probes.plan(memory, endpoint, at_s)


def note_certificate(memory: Memory, endpoint: EndpointState, shown: Certificate | None) -> None:
    """Two records for each certificate: that it expires soon, and that it has expired."""
    if shown is None:
        return
    endpoint.certificate = shown
    stage = (shown.expires_s, shown.left_s < 0)
    if shown.left_s > CERTIFICATE_WARN_S or endpoint.certificate_warned == stage:
        return
    endpoint.certificate_warned = stage
    facts = {"pool": endpoint.key.pool, "endpoint": endpoint.key.endpoint, "expires_s": shown.expires_s}
    if shown.left_s < 0:
        memory.emit("certificate_expired", facts, "error")
    else:
        memory.emit("certificate_expires", facts | {"days_left": int(shown.left_s / DAY_S)}, "warning")


def evidence(endpoint: EndpointState) -> str:
    detail = endpoint.last_result.detail if endpoint.last_result else ""
    word = "passed" if endpoint.streak > 0 else "failed"
    return f"{abs(endpoint.streak)} in a row {word}: {detail}"


def connect_failed(memory: Memory, event: ConnectFailed, now: float) -> None:
    """Not for an endpoint that is DOWN: that sessions still fail there is no news."""
    endpoint = memory.endpoints.get(event.endpoint_id)
    if endpoint is None or endpoint.health is Health.DOWN:
        return
    planned_s = probes.planned_s(memory, endpoint)
    if planned_s is not None:
        probes.plan(memory, endpoint, min(planned_s, max(now, endpoint.probe_started_s + PROBE_GAP_S)))
