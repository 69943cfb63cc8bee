"""The queue of two workers against an obvious one: a list of all who wait, which is searched each time."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lb._ext.queue import QueueOfWorker
from lb.shell.datapath import Board

SILENT_NS = 10**9
SESSIONS = 12
QUEUE_MAX = 9


@dataclass
class Waiting:
    worker: int
    number: int
    fresh: bool
    since_ns: int


class QueueOfTwoWorkers(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.board = Board.create(2)
        self.workers = [QueueOfWorker(self.board.fd, index, SESSIONS, QUEUE_MAX) for index in (0, 1)]
        self.now_ns = 10**12
        self.seen_ns = [0, 0]  # when each last looked at its queue
        self.waiting: list[Waiting] = []  # in the order of arrival; those that had their turn are not fresh
        self.waited_ns: dict[tuple[int, int], int] = {}

    def of(self, worker: int, fresh: bool) -> list[int]:
        return [one.number for one in self.waiting if one.worker == worker and one.fresh == fresh]

    @rule(
        worker=st.integers(0, 1),
        number=st.integers(0, SESSIONS - 1),
        had_turn=st.sampled_from([False, False, False, True]),
    )
    def enqueue(self, worker: int, number: int, had_turn: bool) -> None:
        if any((one.worker, one.number) == (worker, number) for one in self.waiting):
            return
        taken = self.workers[worker].enqueue(number, had_turn, self.now_ns)
        assert taken == (len(self.waiting) < QUEUE_MAX)
        if taken:
            self.seen_ns[worker] = self.now_ns
            self.waiting.append(Waiting(worker, number, not had_turn, self.now_ns))

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if not self.waiting:
            return
        one = self.waiting.pop(data.draw(st.integers(0, len(self.waiting) - 1)))
        key = one.worker, one.number
        self.waited_ns[key] = self.waited_ns.get(key, 0) + self.now_ns - one.since_ns
        assert self.workers[one.worker].leave(one.number, self.now_ns) == self.waited_ns[key]

    @rule(step_ns=st.sampled_from([1, 10**6, SILENT_NS - 1, SILENT_NS, SILENT_NS + 1]))
    def time_passes(self, step_ns: int) -> None:
        self.now_ns += step_ns

    @rule(worker=st.integers(0, 1))
    def look(self, worker: int) -> None:
        """Who is served next in this worker: its first, if nobody came before who can still be served."""
        fresh = [one for one in self.waiting if one.fresh]
        mine = [one for one in fresh if one.worker == worker]
        if mine:
            self.seen_ns[worker] = self.now_ns
        alive = [one for one in fresh if one.worker == worker or self.is_awake(one.worker)]
        assert self.workers[worker].somebody_waits(self.now_ns) == bool(alive)
        expected = mine[0].number if mine and alive[0] is mine[0] else None
        assert self.workers[worker].next_served(self.now_ns) == expected

    def is_awake(self, worker: int) -> bool:
        return self.now_ns - self.seen_ns[worker] < SILENT_NS

    @invariant()
    def order_is_as_it_should_be(self) -> None:
        for worker, queue in enumerate(self.workers):
            assert queue.in_order() == [self.of(worker, fresh=False) + self.of(worker, fresh=True)] * 2
        assert self.board.pool(0).queued == len(self.waiting)

    def teardown(self) -> None:
        self.board.close()


TestQueueOfTwoWorkers = QueueOfTwoWorkers.TestCase
TestQueueOfTwoWorkers.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
