"""Keepalive of sessions that live: on both sides, and not for all at the same time."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

IDLE_S, SESSIONS = 30, 60
SETTLED_WITHIN_S = 8.0


def timers_s(port: int) -> list[float]:
    """When the kernel will probe each established connection whose own port this is, or whose peer's."""
    words = ["ss", "-tnoH", "state", "established", f"( sport = :{port} or dport = :{port} )"]
    shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=10).stdout
    return [float(found) for found in re.findall(r"timer:\(keepalive,(\d+)sec,0\)", shown)]


def test_keepalive_of_sessions_that_came_together_is_spread(scene: Scene) -> None:
    """9000 sessions that came together were probed together, 18 000 packets in one tick. The kernel dropped
    most of them each time, and after 60 s it ended thousands of live sessions."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, connect_timeout_ms=300)
    for _ in range(SESSIONS):
        scene.session(bench, endpoint)

    for port in (bench.address[1], endpoint.address[1]):  # each connection once: only lb's end has a timer

        def is_set(port: int = port) -> bool:
            return len(timers_s(port)) == SESSIONS

        eventually(is_set, within_s=SETTLED_WITHIN_S, reason="keepalive is on for every session")
        spread = sorted(timers_s(port))
        print(f"port {port}: probes in {spread[0]:.0f} to {spread[-1]:.0f} s")
        assert spread[-1] - spread[0] >= IDLE_S / 6
        assert spread[0] >= IDLE_S / 2
