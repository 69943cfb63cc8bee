"""Everything the brain remembers between two events, and the commands that one event has led to so far.

The rooms beside it are functions over this. Who calls whom, top to bottom:

    brain           takes the event, meets what is due, settles
    reload, orders, observations
                    what a file, an operator and the world do to an endpoint
    axes            one change, and what follows from it
    probes, drains, ejections, publication
                    what follows: a probe starts or stops, a drain begins or ends, an endpoint is set aside, a
                    snapshot goes out
    transitions, agenda, draft, ids
                    know nothing of the memory
"""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

from lb.core.agenda import Agenda
from lb.core.commands import Command, Emit
from lb.core.draft import Draft
from lb.core.ids import Ids
from lb.core.state import EndpointState, ListenerState, PoolState
from lb.model.address import SocketAddress
from lb.model.cause import Cause
from lb.model.config import Config
from lb.model.endpoint import EndpointKey
from lb.model.record import Record


class Memory:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.config: Config | None = None
        self.generation = 0
        self.published_s = float("-inf")

        self.endpoints: dict[int, EndpointState] = {}  # every one that holds an id
        self.live: dict[EndpointKey, EndpointState] = {}  # those of the configuration
        self.leaving: dict[tuple[EndpointKey, SocketAddress], EndpointState] = {}  # removed, with an id
        self.pools: dict[str, PoolState] = {}
        self.listeners: dict[str, ListenerState] = {}
        self.endpoint_ids, self.pool_ids, self.listener_ids = Ids(), Ids(), Ids()

        self.agenda = Agenda()
        self.draft = Draft()
        self.probe_numbers = count(1)
        self.unsettled: dict[str, Cause] = {}  # pools that were touched since eligible was derived, and why
        self.draining: dict[int, EndpointState] = {}  # those whose sessions are counted
        self.count_asked_s = float("-inf")
        self.commands: list[Command] = []

    def emit(self, event: str, facts: dict[str, Any], level: str = "info") -> None:
        self.commands.append(Emit(Record(event, level, facts)))
