"""What is asked of a proxy."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

IDLE_SESSIONS = 9000


@dataclass(frozen=True)
class Workload:
    """`unit` is what one operation is called; bulk counts GB (10^9 bytes).

    loop: closed  the next operation begins when the last has ended: as fast as it goes (bench.load client)
          open    operations are due at a fixed rate (bench.load pace): `rate_share` of what the slowest of
                  the peers reached in the closed workload `rate_of`, in the same run
          held    sessions are opened, do one exchange, and rest: memory
    `idle` sessions rest beside the load. `generators` share the rate, each on a CPU of its own. `ours`: only
    lb does it.
    """

    name: str
    title: str
    unit: str
    loop: Literal["closed", "open", "held"]
    mode: str
    sessions: int
    endpoint: str = ""
    rate_of: str = ""
    rate_share: float = 0.5
    workers: int = 1
    generators: int = 1
    idle: int = 0
    ours: bool = False
    rounds_max: int | None = None  # what hardly varies needs no more


CONNECT = Workload(
    "connect", "connect, exchange, close; 64 in flight", "connection", "closed", "connect", 64, "reply"
)
MESSAGES = Workload("messages-1", "64-byte echo on 1 session", "exchange", "closed", "messages", 1, "echo")
BULK = Workload("bulk-1", "bulk download, 1 stream", "GB", "closed", "bulk", 1, "source")
PACED_CONNECT = Workload(
    "latency-connect",
    "latency of connect, exchange, close, at a fixed rate",
    "connection",
    "open",
    "connect",
    sessions=4096,  # at most so many in flight
    rate_of="connect",
)
PACED_MESSAGES = Workload(
    "latency-messages",
    "latency of a 64-byte echo on 64 sessions, at a fixed rate",
    "exchange",
    "open",
    "messages",
    sessions=64,
    rate_of="messages-64",
)
ACTIVE = replace(
    PACED_MESSAGES,
    name="active-alone",
    title="latency of a 64-byte echo on 100 sessions, at a fixed rate",
    sessions=100,
    rate_share=0.25,
    ours=True,
)
WORKERS = replace(
    PACED_CONNECT,
    name="workers-1",
    title="connect, exchange, close, at a fixed rate; one worker",
    rate_share=0.25,
    generators=2,
    ours=True,
)
IDLE = Workload("idle", "9000 idle sessions", "session", "held", "hold", IDLE_SESSIONS, "echo", rounds_max=2)

WORKLOADS = {
    workload.name: workload
    for workload in (
        CONNECT,
        MESSAGES,
        replace(MESSAGES, name="messages-64", title="64-byte echo on 64 sessions", sessions=64),
        replace(MESSAGES, name="messages-1000", title="64-byte echo on 1000 sessions", sessions=1000),
        BULK,
        replace(BULK, name="bulk-4", title="bulk download, 4 streams", sessions=4),
        PACED_CONNECT,
        PACED_MESSAGES,
        ACTIVE,
        replace(
            ACTIVE, name="active-idle", title=f"{ACTIVE.title}, beside 9000 idle ones", idle=IDLE_SESSIONS
        ),
        WORKERS,
        replace(
            WORKERS,
            name="workers-2",
            title="connect, exchange, close, at a fixed rate; two workers",
            workers=2,
        ),
        IDLE,
    )
}


def named(wish: str) -> list[Workload]:
    """The workload of that name, else all whose names begin so: `messages` is three."""
    if wish in WORKLOADS:
        return [WORKLOADS[wish]]
    return [workload for name, workload in WORKLOADS.items() if name.startswith(f"{wish}-")]
