"""`python -m tests.support.fault_cases [--seed N --each N]`: plays the trial for each call, way and number.

For a process started with failing_calls.so. Prints a line of JSON for each case before it begins, and another
with its verdict; a crash is thereby of the case that was announced last. The numbers of a call are those that
it has in a trial without a fault: all of them, or with --each so many, drawn by the seed.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import random
import sys
from typing import NamedTuple

from lb.shell.datapath import Board, Engine, Ring, compile_snapshot
from tests.support.engine_bench import snapshot_of
from tests.support.failing_calls import EDGE, SHORT, FailingCalls
from tests.support.fault_trial import Trial, judge
from tests.support.open_fds import open_fds

BASELINES = 3  # the numbers of calls differ a little from one to the next: the greatest count is taken
CASE_S_MAX = 60.0  # of the machine's time; the trial bounds its own

# Ways in which each call can fail, by what comes of it. Where the session goes on as if nothing had been ...
HARMLESS = {
    "accept4": "ECONNABORTED EPROTO EMFILE ENFILE ENOBUFS ENOMEM EINTR EAGAIN EPERM EACCES",
    "bind": "EADDRNOTAVAIL EADDRINUSE",
    "close": "EINTR EIO",
    "connect": "EADDRNOTAVAIL EAGAIN ECONNREFUSED ECONNRESET EHOSTUNREACH ENETUNREACH ETIMEDOUT ENOBUFS",
    "epoll_wait": "EINTR",
    "fcntl": "EPERM EBUSY ENOMEM",
    "getsockname": "ENOBUFS",
    "pipe2": "EMFILE ENFILE ENOMEM",
    "poll": "EINTR ENOMEM",
    "recv": f"EINTR {EDGE} {SHORT}",
    "send": f"EINTR {EDGE} {SHORT}",
    "setsockopt": "ENOBUFS ENOPROTOOPT EPERM EINVAL",
    "socket": "EMFILE ENFILE ENOBUFS ENOMEM EPERM",
    "splice": f"EINTR {EDGE} {SHORT}",
    "timerfd_settime": "EINVAL",
}
# ... and where it may end, it alone. EAGAIN without an edge is what no kernel does: a deadline sees to it.
HARMFUL = {
    "epoll_ctl": "ENOMEM ENOSPC",
    "getpeername": "ENOBUFS",
    "getsockopt": "ENOBUFS",
    "ioctl": "EINVAL ENOTTY",
    "malloc": "ENOMEM",
    "recv": "ECONNRESET ETIMEDOUT ENOMEM ENOBUFS EHOSTUNREACH EAGAIN",
    "send": "ECONNRESET EPIPE ETIMEDOUT ENOMEM ENOBUFS EPERM EHOSTUNREACH EAGAIN",
    "shutdown": "ENOTCONN",
    "splice": "ECONNRESET EPIPE ENOMEM EINVAL EAGAIN",
}
# What makes an engine and gives it a snapshot: it is refused with an exception, and leaves nothing behind.
MAKING = {
    "calloc": "ENOMEM",
    "epoll_create1": "EMFILE ENFILE ENOMEM",
    "epoll_ctl": "ENOMEM ENOSPC",
    "fstat": "EBADF",
    "malloc": "ENOMEM",
    "mmap": "ENOMEM EAGAIN",
    "timerfd_create": "EMFILE ENFILE ENODEV ENOMEM",
}


class Case(NamedTuple):
    call: str
    how: str
    number: int
    harmless: bool


def cases(counts: dict[str, int], each: int, draw: random.Random) -> list[Case]:
    found = []
    for table, harmless in ((HARMLESS, True), (HARMFUL, False)):
        for call, hows in table.items():
            numbers = range(1, counts[call] + 1)
            for how in hows.split():
                chosen = sorted(draw.sample(numbers, each)) if 0 < each < len(numbers) else numbers
                found += [Case(call, how, number, harmless) for number in chosen]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.fault_cases", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=0, help="numbers per call and way; 0: all")
    parser.add_argument("--only", default="", help="one case: call,how,number")
    options = parser.parse_args()
    calls = FailingCalls()
    counts: dict[str, int] = {}
    for _ in range(BASELINES):
        trial = Trial(calls)
        trial.run("", 0, EDGE)
        say(baseline=calls.counts(), problems=trial.problems)
        counts = {call: max(count, counts.get(call, 0)) for call, count in calls.counts().items()}
    expected = trial.outcomes()
    chosen = cases(counts, options.each, random.Random(options.seed))
    if options.only:
        call, how, number = options.only.split(",")
        chosen = [case for case in cases(counts, 0, random.Random()) if case[:3] == (call, how, int(number))]
    made = 0 if options.only else make_engines(calls)
    for case in chosen:
        say(case=case)
        faulthandler.dump_traceback_later(CASE_S_MAX, exit=True)
        trial = Trial(calls)
        seen = trial.run(case.call, case.number, case.how)
        say(
            case=case,
            applied=seen.applied,
            problems=judge(trial, seen, expected, case.harmless and seen.applied),
        )
    faulthandler.cancel_dump_traceback_later()
    say(end=len(chosen) + made)
    return 0


def make_engines(calls: FailingCalls) -> int:
    """Every call of an engine's making fails once; how many cases that were."""
    board, ring = Board.create(1), Ring.create()
    make_engine(board, ring)
    calls.arm("", 0, EDGE)
    make_engine(board, ring)
    counts, made = calls.counts(), 0
    for call, hows in MAKING.items():
        assert counts[call], f"an engine is made without {call}"
        for how in hows.split():
            for number in range(1, counts[call] + 1):
                case = Case(call, how, number, False)
                say(case=case)
                say(case=case, applied=True, problems=unmade(calls, case, board, ring))
                made += 1
    make_engine(board, ring)
    board.close()
    ring.close()
    return made


def make_engine(board: Board, ring: Ring) -> None:
    engine = Engine(
        worker=0, sessions_max=100, sessions_max_all=0, pipes_max=1, board_fd=board.fd, ring_fd=ring.fd
    )
    snapshot = compile_snapshot(snapshot_of([]))
    try:
        engine.publish(snapshot)
        engine.step()
    finally:
        os.close(snapshot)
        engine.close()


def unmade(calls: FailingCalls, case: Case, board: Board, ring: Ring) -> list[str]:
    problems, before = [], open_fds()
    calls.arm(case.call, case.number, case.how)
    try:
        make_engine(board, ring)
        problems.append("nobody was told")
    except (MemoryError, OSError, ValueError):
        problems += [] if calls.seen().applied else ["refused, and not for this call"]
    finally:
        calls.disarm()
    left = open_fds() - before
    return [*problems, f"{left} descriptors are left"] if left else problems


def say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    sys.exit(main())
