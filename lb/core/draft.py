"""The next snapshot, kept line by line, so that a change costs the lines that changed.

Invariants
    A sealed snapshot depends on the lines alone, not on how they came to be.
    One is sealed only if it differs from the last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from hashlib import blake2b

from lb.balance.schedule import Share, reduced, schedule
from lb.core.lines import Lines
from lb.core.state import EndpointState, ListenerState, PoolState
from lb.model.pool import Policy
from lb.model.snapshot import EndpointLine, HashTable, ListenerLine, PoolLine, Snapshot

KEEPALIVE_OFF = (0, 0, 0)
SCHEDULED = {Policy.ROUND_ROBIN, Policy.RANDOM, Policy.POWER_OF_TWO, Policy.PEAK_EWMA}
HASHED = {Policy.SOURCE_HASH, Policy.MAGLEV}
HASH_KEY_BYTES = 16


class Draft:
    def __init__(self) -> None:
        self._listeners: Lines[ListenerLine] = Lines()
        self._pools: Lines[PoolLine] = Lines()
        self._endpoints: Lines[EndpointLine] = Lines()
        self._shares: dict[int, list[Share]] = {}  # what the schedule of each pool was made of
        self._sealed: Snapshot | None = None
        self.access_rate_max = 0

    def seal(self, generation: int) -> Snapshot | None:
        """None if it would say what the last one said."""
        last, tables = self._sealed, (self._listeners, self._pools, self._endpoints)
        if (
            last is not None
            and last.access_rate_max == self.access_rate_max
            and not any(table.is_touched for table in tables)
        ):
            return None
        listeners, pools, endpoints = self._listeners.sealed(), self._pools.sealed(), self._endpoints.sealed()
        sealed = Snapshot(generation, listeners, pools, endpoints, self.access_rate_max)
        if last is not None and replace(sealed, generation=last.generation) == last:
            return None
        self._sealed = sealed
        return sealed

    def put_endpoint(self, state: EndpointState) -> None:
        key, endpoint = state.key, state.endpoint
        line = EndpointLine(
            key.endpoint, key.pool, endpoint.address, state.share, state.sessions_max_effective
        )
        self._endpoints.put(state.id, line)

    def put_pool(self, state: PoolState, eligible: Sequence[EndpointState]) -> None:
        """`eligible` is empty for a pool that was removed while a listener still names its id."""
        pool = state.pool
        line = PoolLine(
            name=pool.name,
            policy=pool.policy,
            connect_timeout_ms=milliseconds(pool.connect.timeout_s),
            attempts_max=pool.connect.attempts_max,
            eligible=tuple([each.id for each in eligible]),
            schedule=self._schedule(state, eligible),
            retry_budget_percent=pool.connect.retry_budget_percent,
            queue_max=pool.queue.max,
            queue_timeout_ms=milliseconds(pool.queue.timeout_s),
            hash=hash_table(state),
            send_proxy=pool.send_proxy,
            sources=pool.connect.source,
            first_byte_timeout_ms=milliseconds(pool.outlier.first_byte_timeout_s) if pool.outlier else 0,
        )
        self._pools.put(state.id, line)

    def put_listener(self, state: ListenerState, pool_id: int) -> None:
        listener, alive = state.listener, state.listener.tcp.keepalive
        line = ListenerLine(
            name=listener.name,
            pool=pool_id,
            sessions_max=listener.sessions_max,
            idle_ms=milliseconds(listener.timeouts.idle_s),
            half_close_ms=milliseconds(listener.timeouts.half_close_s),
            reset_linger_ms=milliseconds(listener.timeouts.reset_linger_s),
            keepalive_s=(alive.idle_s, alive.interval_s, alive.count) if alive else KEEPALIVE_OFF,
            routing_ms=milliseconds(listener.timeouts.routing_s),
            age_max_ms=milliseconds(listener.session_age_max_s),
            user_timeout_ms=milliseconds(listener.tcp.user_timeout_s),
            upload_max=listener.upload_max,
            download_max=listener.download_max,
            allow=listener.allow,
            deny=listener.deny,
            accept_proxy=listener.accept_proxy,
            refuse_by=listener.refuse_by,
            dry_run=listener.dry_run,
            sessions_max_per_source=listener.sessions_max_per_source,
            rate_max=listener.rate_max,
            rate_max_per_source=listener.rate_max_per_source,
        )
        self._listeners.put(state.id, line)

    def pool_ids_in_use(self) -> set[int]:
        """Those that a listener's line names."""
        return {line.pool for line in self._listeners if line is not None}

    def take_endpoint(self, state: EndpointState) -> None:
        self._endpoints.take(state.id)

    def take_pool(self, state: PoolState) -> None:
        self._pools.take(state.id)
        self._shares.pop(state.id, None)

    def take_listener(self, state: ListenerState) -> None:
        self._listeners.take(state.id)

    def _schedule(self, state: PoolState, eligible: Sequence[EndpointState]) -> tuple[int, ...]:
        """It can take milliseconds to make, so the same shares keep theirs."""
        if state.pool.policy not in SCHEDULED:
            self._shares.pop(state.id, None)
            return ()
        shares = [Share(each.id, each.share) for each in eligible]
        line = self._pools[state.id]
        if line is not None and self._shares.get(state.id) == shares:
            return line.schedule
        self._shares[state.id] = shares
        return schedule(shares)


def hash_table(state: PoolState) -> HashTable | None:
    """Of all that the configuration names and that have a weight, eligible or not."""
    pool, rule = state.pool, state.pool.hash
    if pool.policy not in HASHED:
        return None
    members = [(each.id, name, each.share) for name, each in sorted(state.endpoints.items()) if each.share]
    if pool.policy is Policy.SOURCE_HASH:  # an entry for each unit
        weights = reduced([weight for _, _, weight in members])
        members = [(id, name, weight) for (id, name, _), weight in zip(members, weights, strict=True)]
    return HashTable(
        on=rule.on,
        size=rule.table if pool.policy is Policy.MAGLEV else 0,
        key=blake2b(rule.key.encode(), digest_size=HASH_KEY_BYTES).digest(),
        bound_percent=rule.bound_percent,
        members=tuple(members),
    )


def milliseconds(seconds: float) -> int:
    """Rounded, but what is more than nothing stays so: 0 means something else."""
    return max(1, round(seconds * 1000)) if seconds > 0 else 0
