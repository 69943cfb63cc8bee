"""The place of one worker in the crew: the process that fills it now, and the sockets it was handed.

The place stays, processes come and go. A process is *introduced* once it said `started`: from then on it gets
every message that the others get, whether or not it serves yet, so that none is ever missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import NamedTuple

from lb.shell.backoff import Backoff
from lb.shell.control import FDS_PER_MESSAGE_MAX, Message
from lb.shell.sockets import ListeningSocket
from lb.shell.worker_process import Answer, WorkerProcess


class State(Enum):
    """SILENT: alive, but without a heartbeat; it may come back. DEAD: waiting to be replaced."""

    STARTING = "starting"
    SERVING = "serving"
    SILENT = "silent"
    DEAD = "dead"


class Published(NamedTuple):
    """The snapshot in force: every worker has it, and each new one gets it first. Its crew owns `fd`."""

    generation: int
    fd: int


class Wanted(NamedTuple):
    """A socket that a worker is to accept from, and for which listener."""

    member: ListeningSocket
    listener_id: int


class Asked(NamedTuple):
    process: WorkerProcess
    answer: Answer


@dataclass(frozen=True, slots=True)
class Held:
    number: int
    listener_id: int
    answer: Answer

    @property
    def acknowledged(self) -> bool:
        return self._said is not None and self.number in self._said["sockets"]

    @property
    def refused(self) -> bool:
        """The worker could not: its kernel had no room for one more in an epoll set."""
        return self._said is not None and self.number not in self._said["sockets"]

    @property
    def _said(self) -> Message | None:
        return self.answer.result() if self.answer.done() and not self.answer.cancelled() else None


class WorkerSlot:
    """`cpu` None: wherever the kernel puts it. `sessions_lost`: by the end of its last process."""

    def __init__(self, index: int, cpu: int | None) -> None:
        self.index = index
        self.cpu = cpu
        self.state = State.DEAD
        self.process: WorkerProcess | None = None
        self.introduced = False
        self.serving_since_ns = 0
        self.restarts_total = 0
        self.sessions_lost = 0
        self.backoff = Backoff()
        self.held: dict[int, Held] = {}

    def fill(self, command: Sequence[str], on_message: Callable[[Message], None]) -> WorkerProcess:
        """Spawn the process. Raises OSError."""
        self.process = WorkerProcess(command, self.cpu, on_message)
        self.state = State.STARTING
        return self.process

    def vacate(self) -> None:
        self.process = None
        self.introduced = False
        self.state = State.DEAD
        self.held.clear()

    def publish(self, published: Published) -> list[Asked]:
        if self.process is None or not self.introduced:
            return []
        generation, fd = published
        message = {"type": "publish", "generation": generation}
        return [Asked(self.process, self.process.ask(message, [fd], answer="published", number=generation))]

    def hold(self, wanted: Mapping[int, Wanted]) -> list[Asked]:
        """Hand over what it has not and take back what it should not have; by socket number.

        Many in one message: a range of ports must not fill the channel of a worker that is to serve it.
        """
        if self.process is None or not self.introduced:
            return []
        for some in batches(self.held.keys() - wanted.keys()):
            self.process.tell({"type": "unlisten", "sockets": some})
        self.held = {number: held for number, held in self.held.items() if number in wanted}
        asked = []
        for some in batches(number for number, one in wanted.items() if not self._has(number, one)):
            listeners = [wanted[number].listener_id for number in some]
            message = {"type": "listen", "sockets": some, "listeners": listeners}
            fds = [wanted[number].member.sock.fileno() for number in some]
            answer = self.process.ask(message, fds, answer="listening", number=some[0])
            self.held |= {number: Held(number, wanted[number].listener_id, answer) for number in some}
            asked.append(Asked(self.process, answer))
        return asked

    def _has(self, number: int, wanted: Wanted) -> bool:
        held = self.held.get(number)
        return held is not None and held.listener_id == wanted.listener_id and not held.refused

    def accepts_from(self, number: int) -> bool:
        held = self.held.get(number)
        return self.state is State.SERVING and held is not None and held.acknowledged


def batches(numbers: Iterable[int]) -> Iterator[list[int]]:
    """As many as there may be descriptors in a message."""
    left = iter(numbers)
    while some := list(islice(left, FDS_PER_MESSAGE_MAX)):
        yield some
