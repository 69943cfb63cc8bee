"""One measurement: a fresh proxy, one workload, the end of all children."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from bench import memory, proxy
from bench.compare import figures
from bench.compare.plan import Slot
from bench.peers import Peer
from bench.process import LOAD_CPU, PROXY_CPU, READY_TIMEOUT_S, Child, Children, Failed, children
from bench.proxy import Proxy

Sample = dict[str, Any]
IN_MEMORY = Path("/dev/shm")  # where access logs go: what a disk costs is nobody's here
WARMUP_S = 0.4
CLIENT_GRACE_S = 30.0  # opening sessions, starting Python
GENERATOR_CPUS = (LOAD_CPU, PROXY_CPU)
SECOND_LONGER_S = 0.5  # on both sides of the measured window, a second generator is at work


def measure(slot: Slot, peer: Peer, seconds: float, rate: float = 0.0) -> Sample:
    """One sample. What went wrong stands in its `failed`; figures are only there when nothing did."""
    sample = slot.as_dict() | {"at": time.time()}
    take = {"closed": closed, "open": open_loop, "held": held}[slot.workload.loop]
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(
        prefix="lb-bench-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None
    ) as name:
        folder = Path(name)
        try:
            with children(folder) as started:
                sample |= take(slot, started, peer, seconds, rate)
            if slot.logged and peer.log_name:
                sample["errors"]["log_lines_missing"] = lines_missing(sample, folder / peer.log_name)
            sample |= figures.of(slot.workload, sample, proxied=peer.command is not None)
        except Failed as failed:
            sample["failed"] = str(failed)
    return sample | {"slot_s": round(time.monotonic() - begun_s, 2)}


# ---- The three loops --------------------------------------------------------------------------------


def closed(slot: Slot, started: Children, peer: Peer, seconds: float, rate: float) -> Sample:
    endpoint_port = started.endpoint(slot.workload.endpoint)
    beside = started.pids
    running = start(slot, started, peer, [endpoint_port])
    words = load_words(slot, running.ports[0] if running else endpoint_port)
    words += ["--seconds", str(seconds), "--warmup", str(WARMUP_S)]
    words += ["--pids", *map(str, pids_of(running) + beside)]
    return ended(running, started.load("client", *words).line(WARMUP_S + seconds + CLIENT_GRACE_S))


def open_loop(slot: Slot, started: Children, peer: Peer, seconds: float, rate: float) -> Sample:
    workload = slot.workload
    paces = [pace(slot, started, number, seconds, rate) for number in range(workload.generators)]
    ports = [int(child.line(READY_TIMEOUT_S)["port"]) for child in paces]
    idle_ports = [started.endpoint("echo")] if workload.idle else []
    running = start(slot, started, peer, ports + idle_ports)
    holder = hold(started, running.ports[-1], workload.idle) if running and workload.idle else None
    beside = [pid for pid in started.pids if pid != paces[0].pid and pid not in pids_of(running)]
    for child, port in zip(paces, running.ports if running else ports, strict=False):
        child.tell({"port": port, "pids": pids_of(running) + beside if child is paces[0] else []})
    result, *others = [child.line(WARMUP_S + seconds + CLIENT_GRACE_S) for child in paces]
    for other in others:
        result["operations"] += round(other["operations"] * result["seconds"] / other["seconds"])
        for kind, count in other["errors"].items():
            result["errors"][kind] += count
    if holder:
        result["errors"]["idle"] = let_go(holder, workload.idle)
    return ended(running, result | {"rate_wanted": rate})


def held(slot: Slot, started: Children, peer: Peer, seconds: float, rate: float) -> Sample:
    """User memory at rest, and with `sessions` sessions after one exchange each."""
    sessions = slot.workload.sessions
    running = start(slot, started, peer, [started.endpoint(slot.workload.endpoint)])
    assert running is not None
    rest = memory.settled(lambda: running.pids)
    holder = hold(started, running.ports[0], sessions)
    full = memory.settled(lambda: running.pids)
    return ended(running, {"errors": {"idle": let_go(holder, sessions)}, "rest": rest, "held": full})


# ---- Their parts ------------------------------------------------------------------------------------


def start(slot: Slot, started: Children, peer: Peer, endpoint_ports: list[int]) -> Proxy | None:
    if peer.command is None:
        return None
    workload = slot.workload
    # Of two workers, one shares the generator's CPU.
    first = workload.loop == "open" and workload.workers == 1
    return proxy.start(
        started, peer, endpoint_ports, logged=slot.logged, workers=workload.workers, first=first
    )


def pids_of(running: Proxy | None) -> list[int]:
    return running.pids if running else []


def load_words(slot: Slot, port: int) -> list[str]:
    return ["--mode", slot.workload.mode, "--port", str(port), "--sessions", str(slot.workload.sessions)]


def pace(slot: Slot, started: Children, number: int, seconds: float, rate: float) -> Child:
    """The first one's window is measured. A second begins before it opens and ends after it closes.

    One alone has its CPU to itself; two share theirs with workers, and sleep between operations.
    """
    workload = slot.workload
    several = workload.generators > 1
    warmup_s = WARMUP_S + (SECOND_LONGER_S if several and number == 0 else 0.0)
    seconds += 2 * SECOND_LONGER_S if number else 0.0
    words = ["--mode", workload.mode, "--sessions", str(workload.sessions), *(["--sleep"] if several else [])]
    words += ["--rate", str(rate / workload.generators), "--warmup", str(warmup_s), "--seconds", str(seconds)]
    return started.load("pace", *words, cpu=GENERATOR_CPUS[number], name=f"pace-{number}")


def hold(started: Children, port: int, sessions: int) -> Child:
    """Opens sessions that rest after one exchange each."""
    words = ["--mode", "hold", "--port", str(port), "--sessions", str(sessions)]
    holder = started.load("client", *words, name="holder")
    holder.line(CLIENT_GRACE_S)
    return holder


def let_go(holder: Child, sessions: int) -> int:
    """Ends what it holds. Returns how many sessions had an error, or were closed while they rested."""
    holder.tell_end()
    result = holder.line(CLIENT_GRACE_S)
    return max(sum(result["errors"].values()), sessions - result["sessions_open"])


def ended(running: Proxy | None, result: Sample) -> Sample:
    """The result, with `proxy_pids`, once it is sure that no process of the proxy is missing in it."""
    if running:
        running.check()
    return result | {"proxy_pids": pids_of(running)}


def lines_missing(sample: Sample, path: Path) -> int:
    """Every connection leaves a line: a log that drops some under load would be a cheap one."""
    lines = path.read_bytes().count(b'{"time":')
    connections = sample["operations"] if sample["workload"].endswith("connect") else 1
    return max(connections - lines, 0)
