"""When the next probe of an endpoint runs.

Probes run start to start and never overlap: one that takes longer than the interval is followed at once.
Jitter only shortens, so an interval is a promise. With the default check (1 s, 0.5 s while changing, 0.8 s
to answer, three failures), seen from the moment at which an endpoint fails:

    killed, it refuses at once       1.0 + 0.5 + 0.5              DOWN within 2.0 s
    hung, each probe times out       1.0 + 0.8 + 0.8 + 0.8        DOWN within 3.4 s

At process start the first probes are spread over one interval, so that many endpoints are not asked in step.
"""

from __future__ import annotations

from random import Random

from lb.health.streak import is_changing
from lb.model.check import Check
from lb.model.endpoint import Health


def first_run(check: Check, now: float, seeded: Random) -> float:
    """At process start. An endpoint that comes later is probed at once."""
    return now + seeded.uniform(0.0, check.interval_s)


def next_run(
    check: Check, health: Health, streak: int, started_s: float, now: float, seeded: Random
) -> float:
    """After the probe that began at `started_s`, with the health and the streak that its result left."""
    interval_s = interval(check, health, streak)
    jitter = seeded.random() * check.jitter_percent / 100
    return max(now, started_s + interval_s * (1.0 - jitter))


def interval(check: Check, health: Health, streak: int) -> float:
    if is_changing(health, streak):
        return check.interval_changing_s
    if health is Health.DOWN:
        return check.interval_down_s
    return check.interval_s
