"""The metrics of lb: each one's type, name, meaning, and where its value comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from lb.core.transitions import TRANSITIONS
from lb.model.endpoint import Health
from lb.shell.counts import EndpointCounts, Histogram, ListenerCounts, PoolCounts, WorkerCounts
from lb.shell.exposition import Family
from lb.shell.observed import EndpointView, Observed

NO_TRANSITIONS: dict[tuple[str, str], int] = {
    (to.value, cause.value): 0
    for row in TRANSITIONS.values()
    for to, causes in row.items()
    for cause in sorted(causes, key=lambda cause: cause.value)
}


class Member(NamedTuple):
    """An endpoint. `sessions_open` includes those of a removed one of the same name."""

    view: EndpointView
    counts: EndpointCounts
    sessions_open: int
    check_duration: Histogram
    check_age_s: float


class Worker(NamedTuple):
    restarts_total: int
    counts: WorkerCounts


LISTENER: tuple[Family[ListenerCounts], ...] = (
    Family(
        "gauge", "lb_listener_sessions_open", "Open sessions that came in here.", lambda c: c.sessions_open
    ),
    Family(
        "counter", "lb_listener_sessions_total", "Sessions that came in here.", lambda c: c.sessions_total
    ),
    Family("counter", "lb_listener_refused_total", "Connections refused.", lambda c: c.refused, ("reason",)),
    Family(
        "counter",
        "lb_sessions_closed_total",
        "Sessions that ended; the reasons are those of the access log.",
        lambda c: c.closed,
        ("reason",),
    ),
    Family("histogram", "lb_session_seconds", "From accept to close.", lambda c: c.session_seconds),
    Family(
        "counter",
        "lb_listener_would_refuse_total",
        "Sessions that a dry run let in: what lists and limits would have refused, or kept waiting.",
        lambda c: c.would_refuse,
        ("reason",),
    ),
    Family(
        "counter",
        "lb_listener_paced_total",
        "How often accepting waited for rate_max to allow another session.",
        lambda c: c.paced_total,
    ),
    Family(
        "counter",
        "lb_listener_sources_untracked_total",
        "Sessions let in without a look at the limits of their source, for want of a place to count it.",
        lambda c: c.sources_untracked,
    ),
)

ENDPOINT: tuple[Family[Member], ...] = (
    Family("gauge", "lb_endpoint_sessions_open", "Open sessions.", lambda m: m.sessions_open),
    Family(
        "counter", "lb_endpoint_sessions_total", "Sessions given to it.", lambda m: m.counts.sessions_total
    ),
    Family(
        "counter",
        "lb_endpoint_bytes_total",
        "Bytes relayed: `in` from clients to the endpoint, `out` from it to clients.",
        lambda m: {"in": m.counts.bytes_in, "out": m.counts.bytes_out},
        ("direction",),
    ),
    Family("gauge", "lb_endpoint_up", "1 while its health is UP.", lambda m: int(m.view.health is Health.UP)),
    Family(
        "gauge", "lb_endpoint_eligible", "1 while it is given new sessions.", lambda m: int(m.view.eligible)
    ),
    Family(
        "gauge",
        "lb_endpoint_ejected",
        "1 while it is set aside for sessions that failed in a row.",
        lambda m: int(m.view.ejected),
    ),
    Family(
        "counter",
        "lb_endpoint_ejections_total",
        "How often it was set aside.",
        lambda m: m.view.ejections_total,
    ),
    Family(
        "gauge",
        "lb_endpoint_weight",
        "The weight that counts now.",
        lambda m: m.view.weight_effective * m.view.ramp_percent / 100,
    ),
    Family(
        "histogram",
        "lb_endpoint_connect_seconds",
        "How long its connections took to be established.",
        lambda m: m.counts.connect_seconds,
    ),
    Family(
        "histogram",
        "lb_endpoint_first_byte_seconds",
        "From the established connection to the first byte it sent.",
        lambda m: m.counts.first_byte_seconds,
    ),
    Family(
        "counter",
        "lb_endpoint_connect_failures_total",
        "Attempts to connect a session that failed; the session may have gone elsewhere. Also sessions that "
        "were reset before its first byte (early_reset), or got none in time (silent).",
        lambda m: m.counts.connect_failures,
        ("reason",),
    ),
    Family(
        "counter",
        "lb_endpoint_transitions_total",
        "Changes of health (UNKNOWN, UP, DOWN) and admin (READY, DRAIN, MAINT).",
        lambda m: {**NO_TRANSITIONS, **m.view.transitions},
        ("to", "cause"),
    ),
)

CHECK: tuple[Family[Member], ...] = (
    Family(
        "histogram",
        "lb_check_duration_seconds",
        "How long probes took; one that timed out counts with its timeout.",
        lambda m: m.check_duration,
    ),
    Family(
        "gauge",
        "lb_check_last_run_age_seconds",
        "Since the last probe ended; NaN while probes are stopped (MAINT, removed).",
        lambda m: m.check_age_s,
    ),
)

CHECK_OVER_TLS: tuple[Family[Member], ...] = (
    Family(
        "gauge",
        "lb_check_certificate_expiry_timestamp_seconds",
        "When the certificate expires that a probe was shown last, in seconds since 1970; of several, the "
        "first that does; NaN: none was shown.",
        lambda m: min(
            (each.certificate.expires_s for each in m.view.checks if each.certificate), default=math.nan
        ),
    ),
)

POOL: Family[Mapping[str, int]] = Family(
    "gauge",
    "lb_pool_endpoints",
    "Endpoints by state. They overlap: each of `configured` is up, down or unknown, and may be eligible, "
    "drain or maint. `removed` ones drain and are none of these.",
    lambda states: states,
    ("state",),
)

PANIC: Family[bool] = Family(
    "gauge",
    "lb_pool_panic",
    "1 while endpoints serve whatever is known of their health (panic_percent, on_all_down: any).",
    int,
)

POOL_COUNTS: tuple[Family[PoolCounts], ...] = (
    Family("gauge", "lb_pool_queued", "Sessions that wait for room at an endpoint.", lambda c: c.queued),
    Family("counter", "lb_pool_queued_total", "Sessions that had to wait.", lambda c: c.queued_total),
    Family(
        "counter",
        "lb_pool_retries_total",
        "Further attempts to connect a session, after one that failed.",
        lambda c: c.retries_total,
    ),
    Family(
        "counter",
        "lb_pool_retries_refused_total",
        "Further attempts that the retry budget did not allow.",
        lambda c: c.retries_refused_total,
    ),
)

WORKER: tuple[Family[Worker], ...] = (
    Family("gauge", "lb_worker_sessions_open", "Open sessions.", lambda w: w.counts.sessions_open),
    Family("counter", "lb_worker_restarts_total", "How often it was replaced.", lambda w: w.restarts_total),
    Family(
        "counter",
        "lb_accept_paused_total",
        "How often it stopped accepting because it had no room.",
        lambda w: w.counts.accept_paused_total,
    ),
    Family(
        "counter",
        "lb_sessions_starved_total",
        "Sessions that had to wait for a descriptor, a port or memory of the machine.",
        lambda w: w.counts.starved_total,
    ),
)

LOOP_LAG: Family[Histogram] = Family(
    "histogram", "lb_loop_lag_seconds", "How late the event loop turned.", lambda lag: lag
)

WHOLE: tuple[Family[Observed], ...] = (
    Family("gauge", "lb_config_generation", "Of the snapshot that workers use.", lambda o: o.generation),
    Family(
        "gauge",
        "lb_config_last_reload_success",
        "1 if the last reload was accepted, 0 if it was refused and the configuration before it stays.",
        lambda o: int(o.file.last.success),
    ),
    Family(
        "gauge",
        "lb_config_last_reload_success_timestamp_seconds",
        "When the configuration was loaded, in seconds since 1970.",
        lambda o: o.file.loaded_at,
    ),
    Family(
        "counter",
        "lb_access_log_dropped_total",
        "Access-log lines lost because their reader was too slow.",
        lambda o: access_dropped_total(o),
    ),
    Family(
        "counter",
        "lb_access_log_sampled_out_total",
        "Sessions without an access-log line because more ended than log.access_rate_max has lines for.",
        lambda o: sum(o.board.worker(each.index).access_sampled_out_total for each in o.workers),
    ),
    Family(
        "counter",
        "lb_log_dropped_total",
        "Log lines lost because their reader was too slow.",
        lambda o: o.log_dropped_total,
    ),
)

BUILD: Family[int] = Family(
    "gauge", "lb_build_info", "Always 1; the label says which lb this is.", lambda one: one
)


def access_dropped_total(observed: Observed) -> int:
    by_workers = sum(observed.board.worker(each.index).access_dropped_total for each in observed.workers)
    return by_workers + observed.access_dropped_total
