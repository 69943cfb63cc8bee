"""From endpoints that changed to a snapshot: what is eligible is derived, lines are written and sealed.

A change is published with the event that made it. Only where probes change many endpoints within
PUBLISH_GAP_S does the next snapshot wait for the gap to pass: a thousand endpoints that fail together cost a
few snapshots, not a thousand, and the first of them is out at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

from lb.balance.levels import part
from lb.core.agenda import Entry, Need
from lb.core.commands import Emit, PublishSnapshot
from lb.core.memory import Memory
from lb.core.state import EndpointState, PoolState
from lb.core.transitions import Axis, Level, change, is_invited, serving
from lb.model.cause import Cause
from lb.model.endpoint import Agent, Health

PUBLISH_GAP_S = 0.02  # short beside an attempt to connect; the longest schedule takes as long to make


def settle(memory: Memory, now: float) -> None:
    """Publishes what changed."""
    derive(memory, now)
    memory.agenda.clear(Entry(Need.PUBLISH))
    snapshot = memory.draft.seal(memory.generation + 1)
    if snapshot is not None:
        memory.generation, memory.published_s = snapshot.generation, now
        memory.commands.append(PublishSnapshot(snapshot))


def settle_soon(memory: Memory, now: float) -> None:
    """Publishes what changed, or waits for the rest of the gap after the last snapshot."""
    if not memory.unsettled or now >= memory.published_s + PUBLISH_GAP_S:
        settle(memory, now)
    else:
        memory.agenda.set(Entry(Need.PUBLISH), memory.published_s + PUBLISH_GAP_S)


def derive(memory: Memory, now: float) -> None:
    """What is eligible in every pool that was touched."""
    for name, cause in memory.unsettled.items():
        if (pool := memory.pools.get(name)) is not None:
            derive_pool(memory, pool, cause, now)
    memory.unsettled.clear()


def derive_pool(memory: Memory, pool: PoolState, cause: Cause, now: float) -> None:
    found, carrying, panics = serving(pool)
    numbers = {endpoint.id for endpoint in found}
    put_shares(memory, pool, found, carrying)
    for endpoint in pool.endpoints.values():
        set_eligible(memory, endpoint, endpoint.id in numbers, cause, now, panics=panics)
    memory.draft.put_pool(pool, found)
    note_panic(memory, pool, panics, cause)
    note_emptiness(memory, pool, not found, cause)


def put_shares(
    memory: Memory, pool: PoolState, found: Sequence[EndpointState], carrying: Mapping[Level, Fraction]
) -> None:
    """Where one level carries everything, weights are what they are."""
    several = sum(load > 0 for load in carrying.values()) > 1
    able = Counter[Level]()
    for each in found if several else ():
        able[each.level] += each.able
    for each in pool.endpoints.values():
        total = able[each.level]
        share = part(carrying[each.level], each.able, total) if total else each.able
        if share != each.share:
            each.share = share
            memory.draft.put_endpoint(each)


def note_emptiness(memory: Memory, pool: PoolState, is_empty: bool, cause: Cause) -> None:
    """Nothing serves, or something does again: said once each. A pool that was removed is not missed."""
    if is_empty == pool.is_empty or pool.removed:
        return
    pool.is_empty = is_empty
    facts = {"pool": pool.pool.name, "cause": cause.value}
    if not is_empty:
        memory.emit("pool_restored", facts)
    else:
        memory.emit("pool_emptied", facts, "warning" if cause is Cause.CONFIG else "error")


def note_panic(memory: Memory, pool: PoolState, panics: bool, cause: Cause) -> None:
    """Likewise."""
    if panics == pool.panics or pool.removed:
        return
    pool.panics = panics
    facts = {"pool": pool.pool.name, "cause": cause.value}
    if panics:
        memory.emit("panic_began", facts, "error")
    else:
        memory.emit("panic_ended", facts)


def set_eligible(
    memory: Memory, endpoint: EndpointState, to: bool, cause: Cause, now: float, *, panics: bool = False
) -> None:
    if endpoint.eligible == to:
        return
    record = change(endpoint, Axis.ELIGIBLE, to, cause, grounds(endpoint, to, panics), now)
    if record is not None:
        memory.commands.append(Emit(record))


def is_standby(endpoint: EndpointState) -> bool:
    """It is well, and its level has nothing to carry."""
    return endpoint.health is Health.UP and is_invited(endpoint) and not endpoint.ejected


def grounds(endpoint: EndpointState, to: bool, panics: bool) -> str:
    if endpoint.removed:
        return "it left the configuration"
    if to and panics:
        return "panic: health is ignored"
    if to and (endpoint.health is Health.UNKNOWN or endpoint.ejected):
        return "no other endpoint of the pool is eligible"
    if not to and is_standby(endpoint):
        return "its level stands by"
    agent = "" if endpoint.agent is Agent.READY else f", agent {endpoint.agent.value}"
    ejected = ", ejected" if endpoint.ejected else ""
    weight = endpoint.weight_effective
    return f"health {endpoint.health.value}, admin {endpoint.admin.value}{agent}, weight {weight}{ejected}"
