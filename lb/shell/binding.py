"""Which listening groups stand, and how a configuration changes them: all of it, or nothing.

A group is known by its *place*: the configured address, whoever listens there, so that an address may move to
another listener without its socket closing. Only port 0 says nothing about where it is, so there the place is
that of one listener.

`bind` opens what a configuration wants and does not have; nothing that stands is touched before `take`, and
`Bound.discard` leaves no trace. A group that left the configuration is *leaving* until it is empty, and then
gone; if its address is wanted again before that, it is taken back, and its sockets never closed.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from lb.model.address import Address
from lb.model.listener import Listener
from lb.shell.lookout import Lookout
from lb.shell.sockets import ListeningGroup, claim
from lb.shell.unattended import unattended

SUGGESTIONS = {
    errno.EADDRINUSE: "another program listens there: see `ss -ltnp 'sport = :{port}'`",
    errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
    errno.EADDRNOTAVAIL: "no interface has this address: see `ip address`",
    errno.EAFNOSUPPORT: "this machine has IPv6 switched off",
    errno.EMFILE: "too few descriptors: raise the limit (`ulimit -n`, LimitNOFILE=)",
}


class Place(NamedTuple):
    """`owner` is empty, but for port 0."""

    address: Address
    owner: str


@dataclass(frozen=True, slots=True)
class BindProblem:
    """One address that cannot be listened to. `suggestion` says what to do about it."""

    listener: str
    address: Address
    reason: str
    suggestion: str | None = None

    def __str__(self) -> str:
        text = f"listeners.{self.listener}: cannot listen on {self.address}: {self.reason}"
        return f"{text}; {self.suggestion}" if self.suggestion else text


class BindError(Exception):
    """Nothing was changed. All the problems of one attempt at once."""

    def __init__(self, problems: Sequence[BindProblem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = tuple(problems)


@dataclass(slots=True)
class Standing:
    """A group that is open, for a listener. The id is what workers were told, or are to be told next."""

    group: ListeningGroup
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
    made: Mapping[Place, ListeningGroup]
    taken_back: tuple[Place, ...]
    _binder: Binder

    def sockets(self) -> list[socket.socket]:
        """Those that were made for it: `drop_privileges` gives them to the user."""
        return [member.sock for group in self.made.values() for member in group.sockets]

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
        self._lookout = Lookout()

    def groups(self) -> list[Standing]:
        """All that workers are to accept from: those that leave are being emptied by them."""
        return [*self._standing.values(), *(leaving.standing for leaving in self._leaving.values())]

    def standing(self) -> list[Standing]:
        return list(self._standing.values())

    def bind(self, listeners: Sequence[Listener]) -> Bound:
        """Raises BindError."""
        made: dict[Place, ListeningGroup] = {}
        taken_back: list[Place] = []
        problems: list[BindProblem] = []
        owners: dict[Place, Listener] = dict(places(listeners))
        for place, listener in owners.items():
            if place in self._leaving:
                taken_back.append(place)
            elif place not in self._standing:
                with noting(problems, listener.name, place.address):
                    self._claim(place.address)
                    made[place] = ListeningGroup(place.address, listener.tcp, self._count)
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
        """What was bound stands from now on. Returns the groups that were made for it."""
        for place, listener in places(bound.listeners):
            listener_id = listener_ids[listener.name]
            if place in bound.made:
                self._standing[place] = Standing(bound.made[place], listener.name, listener_id)
                continue
            standing = self._standing[place]
            standing.listener, standing.listener_id = listener.name, listener_id
            standing.group.apply(listener.tcp)
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

    def _claim(self, address: Address) -> None:
        """Raises OSError if others listen there. Our own groups beside a wildcard address are no others: a
        configuration may go from 0.0.0.0:80 to 10.0.0.1:80 in one step."""
        own = (standing.group.address for standing in self.groups())
        if address.port and not any(overlap(address, other) for other in own):
            claim(address)

    def _leave(self, place: Place) -> None:
        standing = self._standing.pop(place)
        task = unattended(self._end(place, standing), f"the end of {standing.group.address}")
        self._leaving[place] = Leaving(standing, task)

    async def _end(self, place: Place, standing: Standing) -> None:
        lost = await standing.group.end(self._lookout)
        del self._leaving[place]
        self._on_ended(standing, lost)

    def _take_back(self, place: Place) -> None:
        leaving = self._leaving.pop(place)
        leaving.task.cancel()
        leaving.standing.group.readmit()
        self._standing[place] = leaving.standing


def places(listeners: Sequence[Listener]) -> Iterator[tuple[Place, Listener]]:
    for listener in listeners:
        for ordinal, address in enumerate(listener.binds):
            yield Place(address, "" if address.port else f"{listener.name}#{ordinal}"), listener


def overlap(one: Address, other: Address) -> bool:
    """Whether they are a wildcard address and one that it covers."""
    same = one.port == other.port and one.is_ipv6 == other.is_ipv6
    return same and one.is_wildcard != other.is_wildcard


@contextmanager
def noting(problems: list[BindProblem], listener: str, address: Address) -> Iterator[None]:
    """An OSError inside becomes a problem, in words that say what to do."""
    try:
        yield
    except OSError as error:
        suggestion = SUGGESTIONS.get(error.errno or 0)
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        text = suggestion.format(port=address.port) if suggestion else None
        problems.append(BindProblem(listener, address, reason, text))
