"""The way out: what takes no new sessions is watched until its last one ended, for a bounded time.

Who drains
    an endpoint in DRAIN or MAINT   until it is READY again
    an endpoint that was removed    until nothing is open; then its id is free
    a listener that was removed     likewise, but its sessions are never touched

After `drain_s` the sessions that an endpoint still has are closed. Sessions are counted while something
drains and at no other time. A count says something of an endpoint only if it was asked for after the
snapshot without the endpoint: one that crossed it on the way may have missed a session that was just
beginning.
"""

from __future__ import annotations

from lb.core.agenda import Entry, Need
from lb.core.commands import CloseSessions, CountSessions, ForgetEndpoint, ForgetListener
from lb.core.events import SessionsCounted
from lb.core.memory import Memory
from lb.core.state import EndpointState, ListenerState, PoolState
from lb.model.cause import Reason
from lb.model.endpoint import Admin

COUNT_INTERVAL_S = 0.5  # also how long workers have to take up a snapshot before the first count

# A listening socket that left is emptied before it is ended (lb/shell/sockets.py), at most 10 s: meanwhile
# workers accept from it under the listener's id.
LISTENER_EMPTIED_S = 12.0


def follow(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """After a change of `admin` or `removed`: its drain begins, goes on, or is over."""
    drains = endpoint.removed or endpoint.admin is not Admin.READY
    if not drains:
        endpoint.drain_since_s, endpoint.is_drained = None, False
        memory.agenda.clear(Entry(Need.DRAINED, endpoint.id))
        memory.draining.pop(endpoint.id, None)
        return
    if endpoint.drain_since_s is None:
        endpoint.drain_since_s = now
        memory.agenda.set(Entry(Need.DRAINED, endpoint.id), now + endpoint.pool.pool.drain_s)
    if endpoint.removed or not endpoint.is_drained:
        memory.draining[endpoint.id] = endpoint
        count_soon(memory, now)


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


def count_soon(memory: Memory, now: float) -> None:
    if memory.agenda.at(Entry(Need.COUNT)) is None:
        memory.agenda.set(Entry(Need.COUNT), now + COUNT_INTERVAL_S)


def count(memory: Memory, now: float) -> None:
    if memory.draining or any(each.removed_s is not None for each in memory.listeners.values()):
        memory.count_asked_s = now
        memory.commands.append(CountSessions())
        count_soon(memory, now)


def counted(memory: Memory, event: SessionsCounted, now: float) -> None:
    for endpoint in list(memory.draining.values()):
        assert endpoint.drain_since_s is not None, endpoint
        if event.endpoints.get(endpoint.id, 0) == 0 and endpoint.drain_since_s < memory.count_asked_s:
            drained(memory, endpoint, now)
    for listener in list(memory.listeners.values()):
        emptied = (
            listener.removed_s is not None and listener.removed_s + LISTENER_EMPTIED_S <= memory.count_asked_s
        )
        if emptied and event.listeners.get(listener.id, 0) == 0:
            forget_listener(memory, listener)


def drained(memory: Memory, endpoint: EndpointState, now: float) -> None:
    """Nothing is open: said once in a drain. A removed endpoint is forgotten."""
    del memory.draining[endpoint.id]
    memory.agenda.clear(Entry(Need.DRAINED, endpoint.id))
    if not endpoint.is_drained and endpoint.drain_since_s is not None:
        endpoint.is_drained = True
        facts = {"removed": endpoint.removed, "duration_s": round(now - endpoint.drain_since_s, 3)}
        memory.emit("endpoint_drained", endpoint.key._asdict() | facts)
    if endpoint.removed:
        forget_endpoint(memory, endpoint)


def forget_endpoint(memory: Memory, endpoint: EndpointState) -> None:
    memory.agenda.clear(Entry(Need.CLOSE, endpoint.id))
    del memory.endpoints[endpoint.id]
    del memory.leaving[endpoint.key, endpoint.endpoint.address]
    memory.draft.take_endpoint(endpoint)
    memory.endpoint_ids.free(endpoint.id)
    memory.commands.append(ForgetEndpoint(endpoint.id, endpoint.key))


def forget_listener(memory: Memory, listener: ListenerState) -> None:
    del memory.listeners[listener.listener.name]
    memory.draft.take_listener(listener)
    memory.listener_ids.free(listener.id)
    memory.commands.append(ForgetListener(listener.id, listener.listener.name))
    release_pools(memory)


def release_pools(memory: Memory) -> None:
    """A removed pool's id is free once no listener's line names it."""
    in_use = memory.draft.pool_ids_in_use()
    for pool in [each for each in memory.pools.values() if each.removed and each.id not in in_use]:
        del memory.pools[pool.pool.name]
        memory.draft.take_pool(pool)
        memory.pool_ids.free(pool.id)
