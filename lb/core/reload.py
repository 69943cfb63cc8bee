"""A configuration becomes the brain's own: what is new begins, what changed follows, what is gone drains.

Identity
    A listener and a pool are their names. An endpoint is its pool, its name and its address: under another
    address it is another endpoint, with another id, and the old one drains. What comes back under its old
    identity while it drains takes up its id, its counters and its sessions again.

What is kept
    Health, while the endpoint and the check are the same. Orders (admin, weight), unless the file's own value
    of that key changed, and also where the address changed. Sessions, always: only a drain ends them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lb.core import axes, drains, ejections, probes, ramps
from lb.core.memory import Memory
from lb.core.publication import set_eligible
from lb.core.state import EndpointState, ListenerState, PoolState
from lb.health.plan import first_run
from lb.model.cause import Cause
from lb.model.config import Config
from lb.model.endpoint import Admin, Endpoint, EndpointKey, Health
from lb.model.listener import Listener
from lb.model.pool import Pool

BY_FILE = "the configuration says so"


def load(memory: Memory, config: Config, now: float) -> Mapping[str, Any]:
    """Returns the facts of the record `config_applied`."""
    if config == memory.config:
        return {"unchanged": True}
    starting, before = memory.config is None, set(memory.live.values())
    memory.config = config
    memory.draft.access_rate_max = config.log.access_rate_max
    for pool in config.pools:
        load_pool(memory, pool, starting, now)
    names = {pool.name for pool in config.pools}
    for gone in [each for each in memory.pools.values() if each.pool.name not in names]:
        remove_pool(memory, gone, now)
    load_listeners(memory, config, now)
    drains.release_pools(memory)
    after = set(memory.live.values())
    return {
        "unchanged": False,
        "listeners": len(config.listeners),
        "pools": len(config.pools),
        "endpoints": len(after),
        "endpoints_added": len(after - before),
        "endpoints_removed": len(before - after),
    }


# ---- Listeners --------------------------------------------------------------------------------------


def load_listeners(memory: Memory, config: Config, now: float) -> None:
    for listener in config.listeners:
        load_listener(memory, listener)
    names = {listener.name for listener in config.listeners}
    for state in memory.listeners.values():
        if state.listener.name not in names and state.removed_s is None:
            state.removed_s = now
            drains.count_from(memory, now + drains.LISTENER_EMPTIED_S)


def load_listener(memory: Memory, listener: Listener) -> None:
    state = memory.listeners.get(listener.name)
    if state is None:
        state = ListenerState(memory.listener_ids.take(), listener)
        memory.listeners[listener.name] = state
    state.listener, state.removed_s = listener, None
    memory.draft.put_listener(state, memory.pools[listener.pool].id)


# ---- Pools ------------------------------------------------------------------------------------------


def load_pool(memory: Memory, pool: Pool, starting: bool, now: float) -> None:
    state = memory.pools.get(pool.name)
    if state is None:
        state = memory.pools[pool.name] = PoolState(memory.pool_ids.take(), pool)
    elif state.pool == pool and not state.removed:
        return
    before, members = state.pool, state.endpoints
    state.pool, state.checks, state.removed, state.endpoints = pool, pool.checks, False, {}
    memory.unsettled[pool.name] = Cause.CONFIG
    if before.drain_s != pool.drain_s:
        drains.set_bound(memory, state)
    for endpoint in pool.endpoints:
        member = members.get(endpoint.name)
        if member is not None and member.endpoint.address == endpoint.address:
            del members[endpoint.name]
            update(memory, member, endpoint, now)
        else:
            admin, weight = wishes(endpoint, former=member)
            member = arrive(memory, state, endpoint, admin, weight, starting, now)
        state.endpoints[endpoint.name] = memory.live[member.key] = member
    for member in members.values():
        remove(memory, member, now)
    if before.slow_start_s != pool.slow_start_s:
        for member in list(state.endpoints.values()):
            ramps.follow(memory, member, now)
    if before.close_after_s != pool.close_after_s:
        for member in state.endpoints.values():
            axes.plan_close(memory, member, now)


def wishes(endpoint: Endpoint, former: EndpointState | None) -> tuple[Admin, int]:
    """The file's; or what was ordered for the former bearer of the name, if the file says what it said."""
    if former is None:
        return endpoint.admin, endpoint.weight
    admin = former.admin if former.endpoint.admin is endpoint.admin else endpoint.admin
    weight = former.weight if former.endpoint.weight == endpoint.weight else endpoint.weight
    return admin, weight


def remove_pool(memory: Memory, pool: PoolState, now: float) -> None:
    members, pool.endpoints, pool.removed = pool.endpoints, {}, True
    memory.unsettled[pool.pool.name] = Cause.CONFIG
    for member in members.values():
        remove(memory, member, now)


# ---- Endpoints --------------------------------------------------------------------------------------


def arrive(
    memory: Memory, pool: PoolState, endpoint: Endpoint, admin: Admin, weight: int, starting: bool, now: float
) -> EndpointState:
    """An endpoint that was not there, or that is back before its last session ended."""
    key = EndpointKey(pool.pool.name, endpoint.name)
    state = memory.leaving.pop((key, endpoint.address), None)
    back = state is not None
    if state is None:
        state = EndpointState(memory.endpoint_ids.take(), key, pool, endpoint, weight)
        state.since_s = now
        memory.endpoints[state.id] = state
    state.pool, state.endpoint, state.removed = pool, endpoint, False
    level = "debug" if starting else "info"
    facts = {"id": state.id, "address": str(endpoint.address), "weight": state.weight, "back": back}
    memory.emit("endpoint_added", key._asdict() | facts, level)
    axes.set_weight(memory, state, weight, Cause.CONFIG, BY_FILE, now)
    axes.set_admin(memory, state, admin, Cause.CONFIG, BY_FILE, now)
    state.was_up = not starting
    if starting and pool.checks.initial_up:
        trust(memory, state, now)
    else:
        axes.observe_anew(memory, state, Cause.CONFIG, "it was added", now)
    drains.follow(memory, state, now)
    memory.draft.put_endpoint(state)
    return state


def trust(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """At process start: nobody is turned away while the first probes are on their way."""
    axes.forget_observed(memory, endpoint)
    axes.set_health(memory, endpoint, Health.UP, Cause.CONFIG, "initial: up", now)
    for each in endpoint.checks:
        each.health = Health.UP
        if endpoint.admin is not Admin.MAINT:
            probes.plan(memory, endpoint, each, first_run(each.check, now, memory.random))


def update(memory: Memory, state: EndpointState, endpoint: Endpoint, now: float) -> None:
    """The same endpoint, and perhaps other wishes."""
    if state.ejected and state.pool.pool.outlier is None:
        ejections.come_back(memory, state, "the configuration ejects nobody", now)
    before, checks = state.endpoint, state.pool.checks
    rechecked = state.checked_by is not checks and state.checked_by != checks
    state.endpoint = endpoint
    if endpoint.weight != before.weight:
        axes.set_weight(memory, state, endpoint.weight, Cause.CONFIG, BY_FILE, now)
    if endpoint.admin is not before.admin:
        axes.set_admin(memory, state, endpoint.admin, Cause.CONFIG, BY_FILE, now)
    if rechecked:
        axes.observe_anew(memory, state, Cause.CONFIG, "the check changed", now)
    memory.draft.put_endpoint(state)


def remove(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """It left the file, or its name has gone to another address."""
    probes.stop(memory, endpoint)
    ejections.forget(memory, endpoint, "it left the configuration", now)
    ramps.end(memory, endpoint, Cause.CONFIG, "it left the configuration", now)
    endpoint.removed = True
    if memory.live[endpoint.key] is endpoint:
        del memory.live[endpoint.key]
    memory.leaving[endpoint.key, endpoint.endpoint.address] = endpoint
    memory.emit("endpoint_removed", endpoint.key._asdict() | {"id": endpoint.id})
    set_eligible(memory, endpoint, False, Cause.CONFIG, now)
    drains.follow(memory, endpoint, now)
