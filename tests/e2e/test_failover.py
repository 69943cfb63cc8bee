"""A server is killed and comes back: who notices, how many, and for how long.

The promise: no session fails before it was routed; those that fail after are at most the ones that the dead
server had in its hands; it is DOWN within 3 s; and once it is back it gets its share again.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.access_log import Matched, open_between
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.load import Exchanges, exchanges, wrk
from tests.support.nginx import Nginx, nginx
from tests.support.ports import free_port
from tests.support.process import needs
from tests.support.scale import Scale
from tests.support.waiting import eventually, seconds_until, throughout

DOWN_WITHIN_S = 3.0
SHARE_WATCHED_S = 1.5


class Deed(NamedTuple):
    """When the server died, on both clocks (wall, monotonic), and how it went on."""

    killed_s: float
    dead_s: float
    down_after_s: float
    up_after_s: float
    share_from_s: float
    share_until_s: float


@pytest.mark.parametrize("workers", [2, 4])
@pytest.mark.parametrize("identity", ["drops to nobody", "ordinary user"])
def test_server_killed_under_load_fails_only_what_was_in_its_hands(
    workers: int, identity: str, folder: Path, scale: Scale
) -> None:
    needs("nginx", "wrk")
    as_root = os.geteuid() == 0
    if identity == "drops to nobody" and not as_root:
        pytest.skip("lb can drop its privileges only when it is started as root")
    port, seconds = free_port(), scale.of(full=20, ci=6)
    with nginx("a", folder) as a, nginx("b", folder) as b:
        text = one_pool(port, {"a": a.port, "b": b.port}, pool={"check": {"type": "tcp"}}, workers=workers)
        if identity == "drops to nobody":
            text += "user: nobody\n"
        home = folder / "lb"
        home.mkdir()
        user = "nobody" if as_root and identity == "ordinary user" else None
        with running_lb(text, home, user=user) as lb:
            with (
                exchanges(port, folder) as client,
                wrk(port, folder, connections=64, seconds=seconds) as load,
            ):
                deed = kill_and_start_again(lb, a, seconds)
                report = load.report(seconds + 30)
            judge(lb, client, report, deed)


def kill_and_start_again(lb: LbProcess, server: Nginx, seconds: float) -> Deed:
    start_s = time.monotonic()
    throughout(lambda: lb.health("a") == lb.health("b") == "UP", for_s=seconds / 3, reason="both are UP")
    killed_s, killed_at_s = time.time(), time.monotonic()
    server.kill()
    dead_s = time.time()
    eventually(
        lambda: lb.health(server.name) == "DOWN", within_s=2 * DOWN_WITHIN_S, reason="the dead server is DOWN"
    )
    down_after_s = time.monotonic() - killed_at_s
    dead_for_s = start_s + 2 * seconds / 3 - time.monotonic()
    throughout(lambda: lb.health(server.name) == "DOWN", for_s=dead_for_s, reason="a dead server stays DOWN")
    server.start_again()
    up_after_s = seconds_until(
        lambda: lb.health(server.name) == "UP", within_s=10, reason="the server that is back is UP"
    )
    share_from_s = time.monotonic() + 0.2
    throughout(lambda: lb.health(server.name) == "UP", for_s=SHARE_WATCHED_S, reason="it stays UP")
    return Deed(killed_s, dead_s, down_after_s, up_after_s, share_from_s, time.monotonic())


def judge(lb: LbProcess, client: Exchanges, report: dict[str, int], deed: Deed) -> None:
    lines = lb.whole_access()
    in_its_hands = open_between(lines, "a", deed.killed_s, deed.dead_s)
    failed = Matched(lines, client.failures)
    share = client.between(deed.share_from_s, deed.share_until_s)
    share_of_a = share["a"] / max(share.total(), 1)
    print(
        f"\n{client.exchanges} exchanges and {report['requests']} of wrk; "
        f"failed before routing {len(failed.unrouted)}, after {len(failed.routed)} + wrk {report['read']}, "
        f"in its hands {len(in_its_hands)}; DOWN after {deed.down_after_s:.2f} s, UP {deed.up_after_s:.2f} s "
        f"after its start, then share {share_of_a:.2f}, slowest {client.slowest_ms} ms"
    )
    assert not failed.unrouted
    assert {line["endpoint"] for _, line in failed.routed} <= {"a"}
    assert len(failed.routed) + report["read"] <= len(in_its_hands)
    assert (report["connect"], report["timeout"], report["status"]) == (0, 0, 0)
    assert client.exchanges > 500
    assert share_of_a == pytest.approx(0.5, abs=0.1)
