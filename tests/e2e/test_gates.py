"""Who is let in, as an operator writes it down: lists, rates, sources, and a dry run of all of them."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.sessions import connect, echoes, read_exactly
from tests.support.waiting import eventually

HERE, ELSEWHERE = "127.0.0.2", "127.0.0.3"


class Clients:
    """They come from whatever address of loopback, and stay until the end of the test."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port, self._stack = port, stack

    def is_served(self, host: str) -> bool:
        """By an echo. One that is refused may learn of it within connect() already."""
        try:
            client = self._stack.enter_context(
                socket.create_connection(("127.0.0.1", self._port), 10, source_address=(host, 0))
            )
        except ConnectionResetError:
            return False
        return echoes(client)


def refused(lb: LbProcess, reason: str) -> float:
    return lb.metrics().sum("lb_listener_refused_total", listener="web", reason=reason)


def would_refuse(lb: LbProcess) -> dict[str, float]:
    found = lb.metrics().each("lb_listener_would_refuse_total", listener="web")
    return {dict(labels)["reason"]: value for labels, value in found.items()}


def test_rate_makes_clients_wait_and_nobody_is_refused(folder: Path) -> None:
    """The first second's worth comes in at once, and the others one after the other, over both workers."""
    port, rate = free_port(), 25
    with endpoint("echo", "a", folder) as a, ExitStack() as stack:
        text = one_pool(port, {"a": a.port}, workers=2, listener={"rate_max": rate})
        with running_lb(text, folder) as lb:
            start_s = time.monotonic()
            clients = [stack.enter_context(connect(port)) for _ in range(3 * rate)]
            for client in clients:
                client.sendall(b"ping")
            for client in clients:
                assert read_exactly(client, 4) == b"ping"
            took_s = time.monotonic() - start_s
            seen = lb.metrics()
            paced = seen.sum("lb_listener_paced_total")
            print(f"\n{3 * rate} clients at {rate}/s: served in {took_s:.2f} s, it waited {paced:.0f} times")
            assert took_s >= 2 - 1 / rate
            assert (paced > 0, seen.sum("lb_listener_refused_total")) == (True, 0)
            assert seen.sum("lb_listener_sessions_total") == 3 * rate


def test_source_has_its_own_limits_and_leaves_others_alone(folder: Path) -> None:
    port = free_port()
    keys = {"sessions_max_per_source": 3, "rate_max_per_source": 1000}
    with endpoint("echo", "a", folder) as a, ExitStack() as stack:
        text = one_pool(port, {"a": a.port}, workers=2, listener=keys)
        with running_lb(text, folder) as lb:
            clients = Clients(port, stack)
            # Both workers' accepts may come at the same moment only if clients do: these do not.
            assert [clients.is_served(HERE) for _ in range(6)] == [True] * 3 + [False] * 3
            assert [clients.is_served(ELSEWHERE) for _ in range(4)] == [True] * 3 + [False]
            assert refused(lb, "refused_limit") == 4
            stack.close()
            eventually(lambda: clients.is_served(HERE), within_s=5, reason="its sessions have ended")
            stack.close()
            reasons = [line["reason"] for line in lb.whole_access()]
            assert {reason: reasons.count(reason) for reason in set(reasons)}["refused_limit"] >= 4


def test_source_beyond_its_rate_is_refused(folder: Path) -> None:
    port = free_port()
    with endpoint("echo", "a", folder) as a, ExitStack() as stack:
        text = one_pool(port, {"a": a.port}, workers=2, listener={"rate_max_per_source": 2})
        with running_lb(text, folder) as lb:
            clients = Clients(port, stack)
            start_s = time.monotonic()
            served = [clients.is_served(HERE) for _ in range(20)].count(True)
            took_s = time.monotonic() - start_s
            assert 2 <= served <= 2 + 2 * took_s
            assert clients.is_served(ELSEWHERE)
            assert refused(lb, "refused_rate") == 20 - served


@pytest.mark.parametrize("how", ["written", "in a file"])
def test_deny_list_that_changes_holds_for_new_sessions(folder: Path, how: str) -> None:
    """A list in a file is watched; one that is written down takes a reload."""
    port, listed = free_port(), folder / "denied.txt"
    listed.write_text("# nobody yet\n")

    def text(deny: list[str]) -> str:
        keys: Any = {"file": "denied.txt"} if how == "in a file" else deny
        return one_pool(port, {"a": a.port}, workers=2, listener={"deny": keys})

    with endpoint("echo", "a", folder) as a, ExitStack() as stack, running_lb(text([]), folder) as lb:
        clients = Clients(port, stack)
        held = stack.enter_context(socket.create_connection(("127.0.0.1", port), 10, (HERE, 0)))
        assert echoes(held)
        if how == "in a file":
            listed.write_text(f"{HERE}/32\n")
            eventually(lambda: not clients.is_served(HERE), within_s=10, reason="the list is taken up")
        else:
            lb.write(text([f"{HERE}/32"]))
            assert lb.command("reload").returncode == 0
        assert not clients.is_served(HERE)
        assert clients.is_served(ELSEWHERE)
        assert echoes(held), "it was let in before"
        assert refused(lb, "refused_acl") >= 1


def test_dry_run_counts_and_refuses_nothing(folder: Path) -> None:
    port = free_port()
    keys = {
        "deny": [ELSEWHERE],
        "sessions_max_per_source": 2,
        "sessions_max": 6,
        "rate_max": 1000,
        "dry_run": True,
    }
    with endpoint("echo", "a", folder) as a, ExitStack() as stack:
        text = one_pool(port, {"a": a.port}, workers=2, listener=keys)
        with running_lb(text, folder) as lb:
            clients = Clients(port, stack)
            assert all(clients.is_served(host) for host in [HERE] * 4 + [ELSEWHERE] * 4)
            # Two of its source too many; four from the list; and the last two over the listener's own limit.
            assert would_refuse(lb) == {"refused_acl": 4, "refused_limit": 2 + 2, "refused_rate": 0}
            seen = lb.metrics()
            assert (seen.sum("lb_listener_refused_total"), seen.sum("lb_accept_paused_total")) == (0, 0)
            lb.write(text.replace(json.dumps({"dry_run": True})[1:-1], json.dumps({"dry_run": False})[1:-1]))
            assert lb.command("reload").returncode == 0
            stack.close()
            eventually(
                lambda: lb.metrics().sum("lb_listener_sessions_open") == 0, within_s=5, reason="all have left"
            )
            assert not clients.is_served(ELSEWHERE)
            assert clients.is_served(HERE)


def test_flood_of_refused_clients_leaves_a_sample_in_the_access_log(folder: Path) -> None:
    port = free_port()
    with endpoint("echo", "a", folder) as a, ExitStack() as stack:
        log = {"format": "json", "level": "debug", "access_rate_max": 40}
        text = one_pool(port, {"a": a.port}, workers=2, log=log, listener={"deny": [HERE]})
        with running_lb(text, folder) as lb:
            clients = Clients(port, stack)
            start_s = time.monotonic()
            assert not any(clients.is_served(HERE) for _ in range(1000))
            seconds = int(time.monotonic() - start_s) + 2
            seen = lb.metrics()
            left_out = seen.sum("lb_access_log_sampled_out_total")
            assert seen.sum("lb_listener_refused_total", reason="refused_acl") == 1000
            eventually(
                lambda: len(lb.access()) == 1000 - left_out, within_s=5, reason="the sample is written"
            )
            assert 0 < len(lb.access()) <= 40 * seconds
            assert sum(line.get("left_out", 0) for line in lb.access()) <= left_out
            assert seen.sum("lb_access_log_dropped_total") == 0
