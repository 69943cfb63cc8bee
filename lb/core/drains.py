"""The way out: what takes no new sessions is watched until its last one ended, for a bounded time.

Who drains
    an endpoint in DRAIN or MAINT   until it is READY again, by order and by its agent
    an endpoint that was removed    until nothing is open; then its id is free
    a listener that was removed     likewise, but its sessions are never touched

After `drain_s` the sessions that an endpoint still has are closed. Sessions are counted while something
drains and at no other time. That nothing is open proves something only once nothing can begin any more: when
every worker has the snapshot without the endpoint, or the listening socket that was removed is empty. Only a
count that was asked for after that is believed.
"""

from __future__ import annotations

from lb.core.agenda import Entry, Need
from lb.core.commands import CloseSessions, CountSessions, ForgetEndpoint, ForgetListener, ForgetPool
from lb.core.events import SessionsCounted
from lb.core.memory import Memory
from lb.core.state import EndpointState, ListenerState, PoolState
from lb.model.cause import Reason
from lb.model.endpoint import Admin, Agent

COUNT_INTERVAL_S = 0.5

# A worker that does not take up a snapshot within 2 s is replaced (lb/shell/crew.py). Until then it may begin
# sessions under the one before, so what is counted earlier proves nothing.
TAKEN_UP_S = 2.5

# A listening socket that left the configuration is emptied before it is ended, at most 10 s
# (lb/shell/sockets.py), once the workers know: they accept from it meanwhile, under the listener's id.
LISTENER_EMPTIED_S = 24.0


def follow(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """After a change of `admin`, `agent` or `removed`: its drain begins, goes on, or is over."""
    stays = not endpoint.removed and endpoint.agent is Agent.READY
    if stays and endpoint.admin is Admin.READY:
        endpoint.drain_since_s, endpoint.is_drained = None, False
        memory.agenda.clear(Entry(Need.DRAINED, endpoint.id))
        memory.draining.pop(endpoint.id, None)
        return
    if endpoint.drain_since_s is None:
        endpoint.drain_since_s = now
        memory.agenda.set(Entry(Need.DRAINED, endpoint.id), now + endpoint.pool.pool.drain_s)
    if endpoint.removed or not endpoint.is_drained:
        memory.draining[endpoint.id] = endpoint
        count_from(memory, now + TAKEN_UP_S)


def set_bound(memory: Memory, pool: PoolState) -> None:
    """`drain_s` of the pool changed: drains that are not at their end take the new one."""
    for endpoint in memory.draining.values():
        entry = Entry(Need.DRAINED, endpoint.id)
        at_end = memory.agenda.at(entry) is None
        if endpoint.pool is pool and endpoint.drain_since_s is not None and not at_end:
            memory.agenda.set(entry, endpoint.drain_since_s + pool.pool.drain_s)


def end(memory: Memory, endpoint: EndpointState) -> None:
    """It had its time."""
    memory.commands.append(CloseSessions(Reason.DRAINED, endpoint_id=endpoint.id))


def count_from(memory: Memory, at_s: float) -> None:
    planned_s = memory.agenda.at(Entry(Need.COUNT))
    memory.agenda.set(Entry(Need.COUNT), at_s if planned_s is None else min(at_s, planned_s))


def count(memory: Memory, now: float) -> None:
    if memory.draining or any(each.removed_s is not None for each in memory.listeners.values()):
        memory.count_asked_s = now
        memory.commands.append(CountSessions())
        count_from(memory, now + COUNT_INTERVAL_S)


def counted(memory: Memory, event: SessionsCounted, now: float) -> None:
    for endpoint in list(memory.draining.values()):
        assert endpoint.drain_since_s is not None, endpoint
        proves = endpoint.drain_since_s + TAKEN_UP_S <= memory.count_asked_s
        if proves and event.endpoints.get(endpoint.id, 0) == 0:
            drained(memory, endpoint, now - endpoint.drain_since_s)
    for listener in list(memory.listeners.values()):
        if is_emptied(memory, listener) and event.listeners.get(listener.id, 0) == 0:
            forget_listener(memory, listener)


def is_emptied(memory: Memory, listener: ListenerState) -> bool:
    """It was removed so long ago that the last count saw all that came through its socket."""
    removed_s = listener.removed_s
    return removed_s is not None and removed_s + LISTENER_EMPTIED_S <= memory.count_asked_s


def drained(memory: Memory, endpoint: EndpointState, duration_s: float) -> None:
    """Nothing is open and nothing will be: said once in a drain. A removed endpoint is forgotten."""
    del memory.draining[endpoint.id]
    memory.agenda.clear(Entry(Need.DRAINED, endpoint.id))
    if not endpoint.is_drained:
        endpoint.is_drained = True
        facts = {"id": endpoint.id, "removed": endpoint.removed, "duration_s": round(duration_s, 3)}
        memory.emit("endpoint_drained", endpoint.key._asdict() | facts)
    if endpoint.removed:
        forget_endpoint(memory, endpoint)


def forget_endpoint(memory: Memory, endpoint: EndpointState) -> None:
    for need in (Need.CLOSE, Need.RETURN, Need.RAMP):
        memory.agenda.clear(Entry(need, endpoint.id))
    del memory.endpoints[endpoint.id]
    del memory.leaving[endpoint.key, endpoint.endpoint.address]
    memory.draft.take_endpoint(endpoint)
    memory.endpoint_ids.free(endpoint.id)
    memory.commands.append(ForgetEndpoint(endpoint.id, endpoint.key))
    if endpoint.pool.removed:
        release_pools(memory)


def forget_listener(memory: Memory, listener: ListenerState) -> None:
    del memory.listeners[listener.listener.name]
    memory.draft.take_listener(listener)
    memory.listener_ids.free(listener.id)
    memory.commands.append(ForgetListener(listener.id, listener.listener.name))
    release_pools(memory)


def release_pools(memory: Memory) -> None:
    """A removed pool's id is free once no listener's line names it and no endpoint of it has a session: those
    are counted under the pool's id, too."""
    removed = [each for each in memory.pools.values() if each.removed]
    if not removed:
        return
    in_use = memory.draft.pool_ids_in_use() | {each.pool.id for each in memory.endpoints.values()}
    for pool in [each for each in removed if each.id not in in_use]:
        del memory.pools[pool.pool.name]
        memory.draft.take_pool(pool)
        memory.pool_ids.free(pool.id)
        memory.commands.append(ForgetPool(pool.id, pool.pool.name))
