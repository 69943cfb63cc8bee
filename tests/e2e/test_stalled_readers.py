"""Clients that never read, before an endpoint that never ends: little is held for them, their senders stop,
others go on, and one of them that dies is noticed."""

from __future__ import annotations

import re
import socket
import statistics
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, configuration, running_lb
from tests.support.ports import free_port
from tests.support.scale import Scale
from tests.support.sessions import connect, read_exactly
from tests.support.vanishing import vanish
from tests.support.waiting import eventually

ENDLESS_BYTES = 1 << 40
UNSENT_BYTES_MAX = 256 << 10  # of a client's socket of lb: the bound, one packet, and what the kernel adds
USER_BYTES_MAX = 24 << 10  # of lb's own memory, per client: a block and a slot, or a pipe's share
STILL_S = 1.0
NOTICED_WITHIN_S = 15.0
PINGS = 200


def socket_bytes(which: str, letter: str) -> list[int]:
    """Of each such socket: `w`, what its kernel keeps to be sent; `r`, what it received and nobody read."""
    words = ["ss", "-tmnH", "state", "established", f"( {which} )"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=20).stdout
    return [int(found) for found in re.findall(rf"skmem:\(.*?\b{letter}(\d+),", shown)]


def tcp_memory_bytes() -> int:
    """Of the whole machine: the endpoint's and the clients' sockets are in it too."""
    found = re.search(r"^TCP: .* mem (\d+)", Path("/proc/net/sockstat").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 4096


def user_bytes(lb: LbProcess) -> int:
    children = Path(f"/proc/{lb.pid}/task/{lb.pid}/children").read_text().split()
    return sum(
        int(size) * 1024
        for pid in [str(lb.pid), *children]
        for size in re.findall(r"^Pss_Anon:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    )


def latency_ms(port: int) -> tuple[float, float]:
    """Median and 99th percentile of a small exchange."""
    took = []
    with connect(port) as client:
        for number in range(PINGS):
            start_s = time.monotonic()
            client.sendall(b"%04d" % number)
            assert read_exactly(client, 4) == b"%04d" % number
            took.append(1000 * (time.monotonic() - start_s))
    return statistics.median(took), statistics.quantiles(took, n=100)[-1]


def moved_bytes(lb: LbProcess) -> float:
    return lb.metrics().sum("lb_endpoint_bytes_total", endpoint="source")


def stand_still(lb: LbProcess) -> bool:
    before = moved_bytes(lb)
    time_s = time.monotonic()
    eventually(lambda: time.monotonic() - time_s > STILL_S, within_s=10, reason="a second passes")
    return moved_bytes(lb) == before


def test_clients_that_never_read_hold_little_and_hold_up_nobody(folder: Path, scale: Scale) -> None:
    count = scale.of(full=1000, ci=200)
    port, echo_port = free_port(), free_port()
    with (
        endpoint("source", "source", folder, bytes=ENDLESS_BYTES) as source,
        endpoint("echo", "echo", folder) as echo,
        ExitStack() as clients,
    ):
        text = configuration(
            workers=2,
            listeners={
                "web": {"bind": f"127.0.0.1:{port}", "pool": "web", "tcp": {"user_timeout": "2s"}},
                "echo": {"bind": f"127.0.0.1:{echo_port}", "pool": "echo"},
            },
            pools={
                "web": {"endpoints": [{"name": "source", "address": f"127.0.0.1:{source.port}"}]},
                "echo": {"endpoints": [{"name": "echo", "address": f"127.0.0.1:{echo.port}"}]},
            },
        )
        with running_lb(text, folder) as lb:
            before, memory_before = latency_ms(echo_port), (user_bytes(lb), tcp_memory_bytes())
            stalled = [clients.enter_context(connect(port)) for _ in range(count)]
            eventually(lambda: stand_still(lb), within_s=60, reason="the senders' windows are closed")
            during, memory = latency_ms(echo_port), (user_bytes(lb), tcp_memory_bytes())
            unsent = socket_bytes(f"sport = :{port}", "w")
            unread = socket_bytes(f"dport = :{source.port}", "r")
            print(
                f"\n{count} clients that never read: lb's memory "
                f"{(memory[0] - memory_before[0]) / 1e6:.1f} MB more, of each session kept unsent "
                f"{sum(unsent) / count / 1024:.0f} KiB, received unread "
                f"{sum(unread) / count / 1024:.0f} KiB (greatest {max(unread) / 1024:.0f}), TCP memory "
                f"of the machine {(memory[1] - memory_before[1]) / 1e6:.1f} MB more; another session's "
                f"exchange {before[0]:.2f} ms (p99 {before[1]:.2f}) before, {during[0]:.2f} ms "
                f"(p99 {during[1]:.2f}) during"
            )
            assert len(unsent) == count
            assert max(unsent) < UNSENT_BYTES_MAX
            assert memory[0] - memory_before[0] < count * USER_BYTES_MAX
            dies_and_is_noticed(lb, stalled[0])


def dies_and_is_noticed(lb: LbProcess, client: socket.socket) -> None:
    address, start_s = client.getsockname(), time.monotonic()
    vanish(client)
    line = lb.session_line(address, within_s=NOTICED_WITHIN_S)
    print(f"one that died was noticed after {time.monotonic() - start_s:.1f} s")
    assert (line["reason"], line["closed_by"]) == ("client_vanished", "client")
