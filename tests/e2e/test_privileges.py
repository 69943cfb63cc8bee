"""Started as root with `user:`, lb carries traffic as that user, and can still do all it needs to."""

from __future__ import annotations

import os
import random
import signal
import socket
from pathlib import Path

import pytest

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, configuration, running_lb
from tests.support.sessions import connect, echoes, is_refused, many
from tests.support.waiting import eventually

USER = "nobody"
CAP_NET_BIND_SERVICE = 10


def test_root_given_up_still_binds_reloads_and_replaces_workers(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give root up")
    first, second = low_ports(2)
    with endpoint("echo", "a", folder) as a:

        def text(*ports: int) -> str:
            listeners = {f"on-{port}": {"bind": f"127.0.0.1:{port}", "pool": "web"} for port in ports}
            pools = {"web": {"endpoints": [f"127.0.0.1:{a.port}"], "check": {"type": "tcp"}}}
            return configuration(workers=2, listeners=listeners, pools=pools, user=USER)

        with running_lb(text(first), folder) as lb, many(first, 10) as sessions:
            assert_unprivileged(lb)
            lb.replace(text(first, second))
            answer = lb.reload()
            assert answer["ok"], answer
            with many(second, 10) as others:
                pids = lb.worker_pids()
                os.kill(pids[0], signal.SIGKILL)
                eventually(
                    lambda: lb.worker_pids().get(0, pids[0]) != pids[0] and lb.ready(),
                    within_s=5,
                    reason="the killed worker is replaced",
                )
                for port in (first, second) * 10:
                    with connect(port) as client:
                        assert echoes(client)
                assert any(map(echoes, sessions))
                assert any(map(echoes, others))
            assert_unprivileged(lb)
            assert lb.command("status").returncode == 0
            lb.replace(text(first))
            assert lb.reload()["ok"]
            eventually(lambda: is_refused(second), within_s=5, reason="the removed port refuses")
            assert any(map(echoes, sessions))
            lb.signal(signal.SIGTERM)
            for session in sessions:
                session.close()
            assert lb.wait(15, "no session is left") == 0


def low_ports(count: int) -> list[int]:
    """Free ports that only a privileged process may bind."""
    found: list[int] = []
    for port in random.Random(os.getpid()).sample(range(600, 1024), 400):
        with socket.socket() as probe:
            if len(found) < count and probe.connect_ex(("127.0.0.1", port)) != 0:
                found.append(port)
    return found


def assert_unprivileged(lb: LbProcess) -> None:
    """Every process is the user's, and has no capability but the one for low ports."""
    import pwd

    uid = pwd.getpwnam(USER).pw_uid
    pids = [lb.pid, *lb.worker_pids().values()]
    for pid in pids:
        rows = dict(
            line.split(":\t", 1)
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if ":\t" in line
        )
        assert set(rows["Uid"].split()) == {str(uid)}, (pid, rows["Uid"])
        assert set(rows["Gid"].split()) == {str(pwd.getpwnam(USER).pw_gid)}, (pid, rows["Gid"])
        assert int(rows["CapEff"], 16) & ~(1 << CAP_NET_BIND_SERVICE) == 0, (pid, rows["CapEff"])
        assert int(rows["CapPrm"], 16) & ~(1 << CAP_NET_BIND_SERVICE) == 0, (pid, rows["CapPrm"])
