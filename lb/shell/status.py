"""The JSON of /api/v1/status: everything an operator asks first. Times are seconds since 1970."""

from __future__ import annotations

from lb import __version__
from lb.model.address import spans
from lb.model.endpoint import Health
from lb.model.listener import Listener
from lb.shell.observed import CheckView, EndpointView, Json, Observed, WorkerView


def status(observed: Observed) -> Json:
    return {
        "version": __version__,
        "pid": observed.pid,
        "state": observed.state,
        "started_at": observed.started_at,
        "generation": observed.generation,
        "config": config(observed),
        "listeners": [listener(observed, each) for each in observed.config.listeners],
        "pools": pools(observed),
        "workers": [worker(observed, each) for each in observed.workers],
        "warnings": [*observed.file.warnings, *observed.warnings],
    }


def config(observed: Observed) -> Json:
    file, last = observed.file, observed.file.last
    return {
        "path": str(file.path),
        "hash": file.hash,
        "loaded_at": file.loaded_at,
        "last_reload": {"success": last.success, "at": last.at, "errors": list(last.errors)},
    }


def listener(observed: Observed, each: Listener) -> Json:
    counts = observed.board.listener(observed.listener_ids[each.name])
    return {
        "name": each.name,
        "binds": spans(each.binds),
        "pool": each.pool,
        "sessions_open": counts.sessions_open,
        "sessions_total": counts.sessions_total,
        "accepting": each.name not in observed.deaf,
    }


def pools(observed: Observed) -> list[Json]:
    """A pool that left the configuration stands last, without a policy, until its sessions have ended; so do
    the endpoints that left a pool, for another may have taken the name."""
    policies: dict[str, str | None] = {pool.name: pool.policy.value for pool in observed.config.pools}
    members: dict[str, list[EndpointView]] = {name: [] for name in policies}
    for view in observed.endpoints:
        members.setdefault(view.key.pool, []).append(view)
    return [
        {
            "name": name,
            "policy": policies.get(name),
            "queued": queued(observed, name),
            "panics": name in observed.panicking,
            "endpoints": [endpoint(observed, view) for view in sorted(views, key=lambda view: view.removed)],
        }
        for name, views in members.items()
    ]


def queued(observed: Observed, pool: str) -> int:
    """A pool whose last endpoint drains may have no id any more, and nobody waits for it."""
    number = observed.pool_ids.get(pool)
    return 0 if number is None else observed.board.pool(number).queued


def endpoint(observed: Observed, view: EndpointView) -> Json:
    counts = observed.board.endpoint(view.id)
    return {
        "name": view.key.endpoint,
        "address": str(view.address),
        "health": view.health.value,
        "admin": view.admin.value,
        "agent": view.agent.value,
        "ejected": view.ejected,
        "returns_in_s": _left(observed, view.returns_s),
        "eligible": view.eligible,
        "removed": view.removed,
        "drained": view.drained,
        "since": _wall(observed, view.since_s),
        "weight": view.weight,
        "weight_effective": view.weight_effective,
        "ramp_percent": view.ramp_percent,
        "priority": view.priority,
        "zone": view.zone,
        "sessions_open": counts.sessions_open,
        "sessions_total": counts.sessions_total,
        "bytes_in": counts.bytes_in,
        "bytes_out": counts.bytes_out,
        "connect_failures_total": sum(counts.connect_failures.values()),
        "checks_needed": "any" if view.any_suffices else "all",
        "checks": [check(observed, each) for each in view.checks],
    }


def check(observed: Observed, view: CheckView) -> Json:
    is_down = view.health is Health.DOWN
    return {
        "type": view.check.type,
        "interval_s": view.check.interval_s,
        "timeout_s": view.check.timeout_s,
        "rise": view.check.rise,
        "fall": view.check.fall,
        "health": view.health.value,
        "last": last_probe(observed, view),
        "certificate_expires": view.certificate.expires_s if view.certificate else None,
        "streak": view.streak,
        "next_run_in_s": _left(observed, view.next_run_s),
        "held_down_for_s": _left(observed, view.held_until_s) if is_down else 0.0,
    }


def last_probe(observed: Observed, view: CheckView) -> Json | None:
    result, run_s = view.last_result, view.last_run_s
    if result is None or run_s is None:
        return None
    return {
        "at": _wall(observed, run_s),
        "ok": result.ok,
        "detail": result.detail,
        "duration_ms": round(result.duration_s * 1000, 3),
    }


def worker(observed: Observed, view: WorkerView) -> Json:
    return {
        "worker": view.index,
        "pid": view.pid,
        "state": view.state,
        "sessions_open": observed.board.worker(view.index).sessions_open,
        "restarts": view.restarts_total,
    }


def _left(observed: Observed, until_s: float | None) -> float | None:
    return None if until_s is None else max(0.0, round(until_s - observed.now_s, 3))


def _wall(observed: Observed, at_s: float) -> float:
    return round(observed.wall_s - (observed.now_s - at_s), 3)
