"""Which listening groups stand, and how a configuration changes them: all of it, or nothing.

A group is known by its *place*: the configured address and what its sockets are bound to, whoever listens
there, so that an address may move to another listener without its socket closing. Options that belong to the
place (`tcp.interface`, `tcp.netns`) are changed by a new group, which listens before the old one begins to
leave. All other options are changed on the sockets that stand.

`bind` opens what a configuration wants and does not have; nothing that stands is touched before `take`, and
`Bound.discard` leaves no trace. A group that left the configuration is *leaving* until it is empty, and then
gone; if its address is wanted again before that, it is taken back, and its sockets never closed.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lb.model.address import UnixAddress
from lb.model.listener import Listener
from lb.shell.bind_problem import BindError, BindProblem, noting
from lb.shell.lookout import Lookout
from lb.shell.namespace import leave_all_but
from lb.shell.place import Place, PortOf, overlap, places, port_of
from lb.shell.sockets import ListeningGroup
from lb.shell.tcp_socket import claim
from lb.shell.unattended import unattended
from lb.shell.unix_group import UnixGroup

SOCKETS_MAX = 65536  # as many as one worker can hold, which may have to stand in for all others

Group = ListeningGroup | UnixGroup


@dataclass(slots=True)
class Standing:
    """A group that is open, for a listener. The id is what workers were told, or are to be told next."""

    group: Group
    listener: str
    listener_id: int


@dataclass(frozen=True, slots=True)
class Leaving:
    standing: Standing
    task: asyncio.Task[None]


@dataclass(frozen=True, slots=True)
class Bound:
    """What a configuration needs: its new groups bound and listening, none of them handed to a worker yet.

    `taken_back`: places whose groups were leaving, and stand again.
    """

    listeners: tuple[Listener, ...]
    made: Mapping[Place, Group]
    taken_back: tuple[Place, ...]
    _binder: Binder

    def sockets(self) -> list[socket.socket]:
        """Those that were made for it: `drop_privileges` gives them to the user."""
        return [member.sock for group in self.made.values() for member in group.sockets]

    def files(self) -> list[Path]:
        """Those of its unix sockets that nobody was named as the owner of: they are the user's, too."""
        return [group.path for group in self.made.values() if isinstance(group, UnixGroup) and group.is_plain]

    def discard(self) -> None:
        """As if it had never been bound. What was opened meanwhile leaves again."""
        self._binder.discard(self)


class Binder:
    """`count` sockets per group. `on_ended(standing, lost)`: a group is gone, with that many connections."""

    def __init__(self, count: int, on_ended: Callable[[Standing, int], None]) -> None:
        self._count = count
        self._on_ended = on_ended
        self._standing: dict[Place, Standing] = {}
        self._leaving: dict[Place, Leaving] = {}
        self._lookouts: dict[str | None, Lookout] = {}

    def groups(self) -> list[Standing]:
        """All that workers are to accept from: those that leave are being emptied by them."""
        return [*self._standing.values(), *(leaving.standing for leaving in self._leaving.values())]

    def standing(self) -> list[Standing]:
        return list(self._standing.values())

    def bind(self, listeners: Sequence[Listener]) -> Bound:
        """Raises BindError."""
        made: dict[Place, Group] = {}
        taken_back: list[Place] = []
        problems: list[BindProblem] = []
        owners: dict[Place, Listener] = dict(places(listeners))
        self._check_count(owners)
        others = self._by_port()
        for place, listener in owners.items():
            if place in self._leaving:
                taken_back.append(place)
            elif place not in self._standing:
                with noting(problems, listener.name, place.address):
                    made[place] = self._made(place, listener, others)
        for place, group in made.items():
            # Not before all are bound: whoever connected to one that is closed again would be reset.
            with noting(problems, owners[place].name, place.address):
                if not problems:
                    group.listen()
        if problems:
            for group in made.values():
                group.close()
            raise BindError(problems)
        for place in taken_back:
            self._take_back(place)
        return Bound(tuple(listeners), made, tuple(taken_back), self)

    def discard(self, bound: Bound) -> None:
        for place, group in bound.made.items():
            if place not in self._standing:
                group.close()
        for place in (*bound.made, *bound.taken_back):
            if place in self._standing:
                self._leave(place)

    def take(self, bound: Bound, listener_ids: Mapping[str, int]) -> list[Standing]:
        """What was bound stands from now on. Returns the groups that were made for it.

        Raises BindError if the options of a standing group cannot be changed; taking the listeners of before
        changes them back.
        """
        problems: list[BindProblem] = []
        for place, listener in places(bound.listeners):
            listener_id = listener_ids[listener.name]
            if place in bound.made:
                self._standing[place] = Standing(bound.made[place], listener.name, listener_id)
                continue
            standing = self._standing[place]
            standing.listener, standing.listener_id = listener.name, listener_id
            with noting(problems, listener.name, place.address):
                standing.group.apply(listener.tcp, listener.unix)
        if problems:
            raise BindError(problems)
        return [self._standing[place] for place in bound.made]

    def leave_absent(self, listeners: Sequence[Listener]) -> None:
        """Groups whose place is in none of these begin to leave."""
        wanted = {place for place, _ in places(listeners)}
        for place in self._standing.keys() - wanted:
            self._leave(place)

    async def end_all(self, s_max: float) -> None:
        """Every group leaves; what is not empty after `s_max` is closed with what it has."""
        self.leave_absent(())
        if tasks := [leaving.task for leaving in self._leaving.values()]:
            await asyncio.wait(tasks, timeout=s_max)
        self.close()

    def close(self) -> None:
        """Every group, at once."""
        for leaving in self._leaving.values():
            leaving.task.cancel()
        gone = self.groups()
        self._standing.clear()
        self._leaving.clear()
        for standing in gone:
            lost = standing.group.queued()
            standing.group.close()
            self._on_ended(standing, lost)
        leave_all_but(set())

    def _check_count(self, owners: Mapping[Place, Listener]) -> None:
        """Raises BindError if there would be more sockets than a worker can hold."""
        count = sum(1 if isinstance(place.address, UnixAddress) else self._count for place in owners)
        if count <= SOCKETS_MAX:
            return
        reason = f"with all others, {count} sockets for {self._count} workers; {SOCKETS_MAX} is the most"
        hint = "have fewer workers, or shorter ranges of ports"
        raise BindError([BindProblem(one.name, place.address, reason, hint) for place, one in owners.items()])

    def _made(self, place: Place, listener: Listener, others: Mapping[PortOf, Sequence[Place]]) -> Group:
        """Bound, and alone there. Raises OSError.

        Our own groups beside it are no others: a configuration may go from 0.0.0.0:80 to 10.0.0.1:80, or to
        one interface, in one step.
        """
        address = place.address
        if isinstance(address, UnixAddress):
            return UnixGroup(address, listener.tcp, listener.unix)
        if address.port and not any(overlap(place, other) for other in others.get(port_of(place), ())):
            claim(address, listener.tcp)
        return ListeningGroup(address, listener.tcp, self._count)

    def _by_port(self) -> Mapping[PortOf, Sequence[Place]]:
        """All that stand or leave, so that a thousand new ones need not each look at a thousand."""
        found: dict[PortOf, list[Place]] = {}
        for place in (*self._standing, *self._leaving):
            found.setdefault(port_of(place), []).append(place)
        return found

    def _leave(self, place: Place) -> None:
        standing = self._standing.pop(place)
        task = unattended(self._end(place, standing), f"the end of {standing.group.address}")
        self._leaving[place] = Leaving(standing, task)

    async def _end(self, place: Place, standing: Standing) -> None:
        lookout = self._lookouts.setdefault(place.netns, Lookout(place.netns))
        lost = await standing.group.end(lookout)
        del self._leaving[place]
        if place.netns is not None:
            leave_all_but({one.netns for one in (*self._standing, *self._leaving) if one.netns})
        self._on_ended(standing, lost)

    def _take_back(self, place: Place) -> None:
        leaving = self._leaving.pop(place)
        leaving.task.cancel()
        leaving.standing.group.readmit()
        self._standing[place] = leaving.standing
