"""How tests run probes: on both loops, as a fixture of theirs asks for; or, where a real server answers, in
the loop that production runs in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from signal import SIGCONT, SIGSTOP
from typing import Any

import uvloop

from lb.model.address import SocketAddress
from lb.model.check import Check, ProbeResult, Question, TlsRule
from lb.shell.probe import run_probe
from tests.support.process import Process

Run = Callable[[Coroutine[Any, Any, ProbeResult]], ProbeResult]

ANSWER_S = 5.0  # a server that has just started, on a busy machine
SHORT_S = 0.5


def probed(
    question: Question | None,
    address: SocketAddress,
    *,
    tls: TlsRule | None = None,
    timeout_s: float = ANSWER_S,
) -> ProbeResult:
    check = Check(question, tls, timeout_s=timeout_s)
    return uvloop.run(run_probe(check, check.target(address)))


@contextmanager
def hung(process: Process) -> Iterator[None]:
    """Its whole group stands still: the kernel answers for it."""
    process.signal_group(SIGSTOP)
    try:
        yield
    finally:
        process.signal_group(SIGCONT)


def judged_when_hung(question: Question | None, process: Process, address: SocketAddress) -> ProbeResult:
    with hung(process):
        began_s = time.monotonic()
        result = probed(question, address, timeout_s=SHORT_S)
        took_s = time.monotonic() - began_s
    assert not result.ok
    assert took_s < 2 * SHORT_S + 0.5, took_s
    return ProbeResult(result.ok, result.detail)
