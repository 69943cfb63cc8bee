"""The brain: handle(event, now) -> [command]. What is decided in lb is decided from here.

Nothing in it waits, opens or reads a clock. The same seed and the same events give the same commands, so
days of operation are simulated in seconds (tests/simulation).

One event
    1  it is taken in: a configuration, a result, an order, a count
    2  whatever has come due by `now` is met
    3  eligible endpoints are derived and the snapshot is published, if it differs
    4  the shell is told when to call again

Commands come in the order of COMMANDS: sessions are closed after the snapshot that lets no new ones in, an
id is forgotten after the snapshot without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain

from lb.core import axes, drains, ejections, observations, orders, probes, publication, ramps, reload
from lb.core.agenda import Need
from lb.core.commands import (
    CancelProbe,
    CloseSessions,
    Command,
    CountSessions,
    Emit,
    ForgetEndpoint,
    ForgetListener,
    ForgetPool,
    PublishSnapshot,
    StartProbe,
    WakeAt,
)
from lb.core.events import (
    ConfigLoaded,
    Event,
    OperatorOrdered,
    ProbeFinished,
    SessionsCounted,
    SessionsFailed,
    Tick,
)
from lb.core.memory import Memory
from lb.core.orders import OrderRefused, UnknownEndpoint
from lb.core.view import EndpointView, view
from lb.model.config import Config

__all__ = ["Brain", "EndpointView", "OrderRefused", "UnknownEndpoint"]

COMMANDS = (
    PublishSnapshot,
    CloseSessions,
    ForgetEndpoint,
    ForgetListener,
    ForgetPool,
    CancelProbe,
    StartProbe,
    CountSessions,
    Emit,
    WakeAt,
)
PLACE = {command: place for place, command in enumerate(COMMANDS)}


class Brain:
    """`config_seed` seeds the jitter of probes and nothing else."""

    def __init__(self, config_seed: int) -> None:
        self._memory = Memory(config_seed)
        self._wake_s: float | None = None  # what the shell was last asked for

    def handle(self, event: Event, now: float) -> list[Command]:
        """`now` never goes back. An order may raise UnknownEndpoint or OrderRefused; then nothing changed."""
        memory = self._memory
        if isinstance(event, OperatorOrdered):
            orders.examine(memory, event)
        by_probes = isinstance(event, ProbeFinished | Tick)
        if not by_probes:
            publication.derive(memory, now)  # what probes left waiting has another cause than this event
        self._take_in(event, now)
        sessions_end = self._meet_needs(now)
        if by_probes and not sessions_end:
            publication.settle_soon(memory, now)
        else:
            publication.settle(memory, now)
        self._ask_to_wake()
        commands, memory.commands = memory.commands, []
        commands.sort(key=lambda command: PLACE[type(command)])
        return commands

    # ---- What the shell may look at ------------------------------------------------------------------

    @property
    def config(self) -> Config | None:
        return self._memory.config

    @property
    def generation(self) -> int:
        """Of the last snapshot published; 0 before the first."""
        return self._memory.generation

    def endpoints(self) -> list[EndpointView]:
        """In the order of the configuration, then those that were removed and drain."""
        memory = self._memory
        members = chain.from_iterable(pool.endpoints.values() for pool in memory.pools.values())
        everyone = chain(members, memory.leaving.values())
        return [view(memory, each) for each in everyone]

    @property
    def listener_ids(self) -> Mapping[str, int]:
        """Those that were removed and still have sessions are among them."""
        return {name: state.id for name, state in self._memory.listeners.items()}

    @property
    def pool_ids(self) -> Mapping[str, int]:
        """Those that were removed and that a session may still be of are among them."""
        return {name: state.id for name, state in self._memory.pools.items()}

    @property
    def panicking(self) -> frozenset[str]:
        """Pools in which the health of endpoints is ignored."""
        return frozenset(name for name, state in self._memory.pools.items() if state.panics)

    # ---- One event -----------------------------------------------------------------------------------

    def _take_in(self, event: Event, now: float) -> None:
        memory = self._memory
        match event:
            case ProbeFinished():
                observations.probe_finished(memory, event, now)
            case SessionsFailed():
                observations.sessions_failed(memory, event, now)
            case SessionsCounted():
                drains.counted(memory, event, now)
            case OperatorOrdered():
                orders.obey(memory, event, now)
            case ConfigLoaded(config):
                facts = reload.load(memory, config, now)
                publication.settle(memory, now)
                memory.emit("config_applied", {"generation": memory.generation, **facts})
            case Tick():
                self._wake_s = None

    def _meet_needs(self, now: float) -> bool:
        """True if sessions are to be closed."""
        memory, sessions_end = self._memory, False
        for need, endpoint_id, place in memory.agenda.due(now):
            match need:
                case Need.PROBE:
                    endpoint = memory.endpoints[endpoint_id]
                    probes.start(memory, endpoint, endpoint.checks[place], now)
                case Need.COUNT:
                    drains.count(memory, now)
                case Need.CLOSE:
                    axes.close(memory, memory.endpoints[endpoint_id])
                    sessions_end = True
                case Need.DRAINED:
                    drains.end(memory, memory.endpoints[endpoint_id])
                    sessions_end = True
                case Need.RETURN:
                    ejections.come_back(memory, memory.endpoints[endpoint_id], "it had its time", now)
                case Need.RAMP:
                    ramps.step(memory, memory.endpoints[endpoint_id], now)
                case Need.PUBLISH:
                    pass  # settling follows
        return sessions_end

    def _ask_to_wake(self) -> None:
        at_s = self._memory.agenda.next_s()
        if at_s is not None and at_s != self._wake_s:
            self._wake_s = at_s
            self._memory.commands.append(WakeAt(at_s))
