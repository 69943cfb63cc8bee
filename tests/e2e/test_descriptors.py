"""With few descriptors lb carries few sessions at a time; it does not spin, and it serves everybody."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.sessions import connect, echoes, read_exactly
from tests.support.vitals import cpu_percent, vitals
from tests.support.waiting import answers, eventually, throughout

CLIENTS = 1000
DESCRIPTORS = 256
CPU_PERCENT_MAX = 20
RECOVERS_WITHIN_S = 30


def test_thousand_clients_with_few_descriptors_are_all_served_in_turn(folder: Path) -> None:
    """As an ordinary user: root would be given more descriptors than it was started with."""
    port = free_port()
    home = folder / "lb"
    home.mkdir()
    user = "nobody" if os.geteuid() == 0 else None
    with endpoint("echo", "a", folder) as a, ExitStack() as opened:
        text = one_pool(port, {"a": a.port}, workers=1)
        with running_lb(text, home, user=user, nofile=DESCRIPTORS) as lb:
            clients = [opened.enter_context(connect(port)) for _ in range(CLIENTS)]
            for client in clients:
                client.sendall(b"ping")
            percent = cpu_percent(lb.worker_pids()[0], lambda: metrics_answer(lb))
            open_now = lb.metrics().sum("lb_listener_sessions_open")
            print(
                f"\n{CLIENTS} clients, {open_now:.0f} sessions at once, {percent:.1f} % of a CPU; "
                f"{lb.metrics().sum('lb_accept_paused_total'):.0f} pauses; {vitals(lb.process.family())}"
            )
            assert 20 < open_now < DESCRIPTORS / 2
            assert percent < CPU_PERCENT_MAX
            assert lb.metrics().sum("lb_accept_paused_total") > 0
            served_s = serve_all(clients)
            print(f"all were served after {served_s:.2f} s")
            with connect(port) as late:
                assert echoes(late)
            assert reasons(lb) == {"done": CLIENTS + 1}


def metrics_answer(lb: LbProcess) -> None:
    def quickly() -> bool:
        asked_s = time.monotonic()
        lb.metrics()
        return time.monotonic() - asked_s < 1

    throughout(quickly, for_s=2, reason="/metrics answers while descriptors are used up", every_s=0.25)


def serve_all(clients: list[socket.socket]) -> float:
    """Whoever is answered leaves, which makes room for the next. Returns how long it took for all."""
    start_s = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for client in clients:
            selector.register(client, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(RECOVERS_WITHIN_S)
            assert ready, f"{len(selector.get_map())} clients wait for ever"
            for key, _ in ready:
                client = key.fileobj
                assert isinstance(client, socket.socket)
                assert read_exactly(client, 4) == b"ping"
                selector.unregister(client)
                client.close()
            assert time.monotonic() - start_s < RECOVERS_WITHIN_S
    return time.monotonic() - start_s


def test_descriptors_that_run_out_under_way_pause_the_worker_and_it_recovers(folder: Path) -> None:
    """Less than lb reckoned with, as when another thing took them. Some clients are then cut (`lb_error`)."""
    port = free_port()
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(one_pool(port, {"a": a.port}, workers=1), folder) as lb,
        ExitStack() as opened,
    ):
        worker = lb.worker_pids()[0]
        held = vitals([worker]).descriptors
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (held + 41, held + 41))
        for _ in range(200):
            if client := answers(lambda: connect(port)):
                opened.enter_context(client)
        percent = cpu_percent(worker, lambda: metrics_answer(lb))
        pauses = lb.metrics().sum("lb_accept_paused_total")
        opened.close()
        eventually(lambda: answers(lambda: served(port)), within_s=5, reason="it serves again")
        eventually(
            lambda: lb.metrics().sum("lb_listener_sessions_open") == 0, within_s=5, reason="all have ended"
        )
        print(f"\n200 clients, 41 descriptors: {percent:.1f} % of a CPU, {pauses:.0f} pauses, {reasons(lb)}")
        assert percent < CPU_PERCENT_MAX
        assert lb.metrics().sum("lb_endpoint_connect_failures_total", reason="refused") == 0
        assert lb.health("a") == "UP"


def served(port: int) -> bool:
    with connect(port) as client:
        return echoes(client)


def reasons(lb: LbProcess) -> dict[str, int]:
    return dict(Counter(line["reason"] for line in lb.whole_access()))


def highest_limit() -> int:
    """The highest that we may set: the kernel's own bound, or, without the privilege, what we have."""
    bound = int(Path("/proc/sys/fs/nr_open").read_text())
    words = ["prlimit", f"--nofile={bound}:{bound}", "true"]
    allowed = subprocess.run(words, capture_output=True, check=False).returncode == 0
    return bound if allowed else resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def test_start_under_a_huge_descriptor_limit_takes_little_memory(folder: Path) -> None:
    """Nothing is sized by the limit: containers have set it to a thousand million."""
    port = free_port()
    highest = highest_limit()
    with (
        endpoint("echo", "a", folder) as a,
        running_lb(one_pool(port, {"a": a.port}, workers=2), folder, nofile=highest) as lb,
    ):
        for pid in lb.process.family():
            found = vitals([pid])
            print(f"\n{pid} with up to {highest} descriptors: {found}")
            assert found.memory_bytes < 100 << 20
