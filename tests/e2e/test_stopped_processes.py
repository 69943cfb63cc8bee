"""A process of lb that stands still, or is killed, is nobody else's misfortune."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.support.endpoints import endpoint, endpoints, ports_of
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.load import exchanges
from tests.support.ports import free_port
from tests.support.sessions import connect, echoes, many, read_all, read_exactly
from tests.support.waiting import eventually, throughout

STOPPED_S = 3.0
SILENCE_NOTICED_S = 1.0


def changes_to_down(lb: LbProcess) -> list[dict]:
    return [event for event in lb.events("endpoint_changed") if event.get("to") == "DOWN"]


def test_worker_stopped_for_seconds_has_its_queue_served_by_another(folder: Path) -> None:
    port = free_port()
    with endpoints("name", "a b", folder) as started:
        text = one_pool(port, ports_of(started), pool={"check": {"type": "tcp"}}, workers=2)
        with running_lb(text, folder) as lb:
            pid = lb.worker_pids()[0]
            os.kill(pid, signal.SIGSTOP)
            stopped_s = time.monotonic()
            clients = [connect(port) for _ in range(60)]
            assert all(read_exactly(client, 1) in (b"a", b"b") for client in clients)
            served_s = time.monotonic() - stopped_s
            later = [connect(port) for _ in range(60)]  # while the sockets are lent, nobody waits
            assert all(read_exactly(client, 1) in (b"a", b"b") for client in later)
            later_s = time.monotonic() - stopped_s - served_s
            throughout(
                lambda: lb.health("a") == lb.health("b") == "UP",
                for_s=max(stopped_s + STOPPED_S - time.monotonic(), 0.1),
                reason="nothing is DOWN",
            )
            os.kill(pid, signal.SIGCONT)
            for client in clients + later:
                client.close()
            print(
                f"\nthe stopped worker's queue is served after {served_s:.2f} s, later ones {later_s:.2f} s"
            )
            assert SILENCE_NOTICED_S / 2 < served_s < 2 * SILENCE_NOTICED_S
            assert later_s < 0.5
            eventually(
                lambda: lb.status()["workers"][0]["state"] == "serving", within_s=3, reason="it serves again"
            )
            assert lb.worker_pids()[0] == pid
            assert takes_sessions(lb, port, worker=0)
            assert changes_to_down(lb) == []


def takes_sessions(lb: LbProcess, port: int, worker: int) -> bool:
    """Whether some of the next sessions are this worker's: it has its sockets back."""
    before = len(lb.access())
    for _ in range(40):
        with connect(port) as client:
            assert read_all(client)
    lines = eventually(
        lambda: lb.access()[before:] if len(lb.access()) >= before + 40 else None,
        within_s=5,
        reason="40 sessions are logged",
    )
    return any(line["worker"] == worker for line in lines)


def test_supervisor_stopped_for_seconds_harms_no_session_and_marks_nobody_down(folder: Path) -> None:
    port = free_port()
    with endpoints("http", "a b", folder) as started:
        text = one_pool(port, ports_of(started), pool={"check": {"type": "tcp"}}, workers=2)
        with running_lb(text, folder) as lb:
            pids = lb.worker_pids()
            with exchanges(port, folder, threads=4) as client:
                lb.signal(signal.SIGSTOP)
                stopped_s = time.monotonic()
                throughout(
                    lambda: all(Path(f"/proc/{pid}").exists() for pid in pids.values()),
                    for_s=5,
                    reason="workers live",
                )
                lb.signal(signal.SIGCONT)
                cont_s = time.monotonic()
                throughout(
                    lambda: lb.health("a") == lb.health("b") == "UP", for_s=2, reason="nobody is marked DOWN"
                )
            print(f"\n{client.exchanges} exchanges, failures {dict(client.kinds())}")
            assert not client.failures
            assert client.between(stopped_s, cont_s).total() > 200
            assert changes_to_down(lb) == []
            assert lb.worker_pids() == pids


def test_supervisor_killed_leaves_sessions_alive_until_the_orphans_leave(folder: Path) -> None:
    port = free_port()
    with endpoint("echo", "a", folder) as a:
        shutdown = {"orphan": "2s", "drain": "1s"}
        text = one_pool(port, {"a": a.port}, workers=2, shutdown=shutdown)
        with running_lb(text, folder) as lb, many(port, 20) as sessions:
            lb.signal(signal.SIGKILL)
            killed_s = time.monotonic()
            lb.wait(2, "it was killed")
            throughout(lambda: all(map(echoes, sessions)), for_s=1, reason="sessions live on", every_s=0.1)
            with connect(port) as late:
                assert echoes(late), "workers go on accepting"
            eventually(lambda: lb.process.family() == [], within_s=10, reason="orphans drain and leave")
            left_s = time.monotonic() - killed_s
            print(f"\norphan: 2s, drain: 1s; the orphans have left after {left_s:.2f} s")
            assert left_s > 2


def test_lb_started_again_at_once_after_a_kill_takes_over_from_the_orphans(folder: Path) -> None:
    port = free_port()
    with endpoint("echo", "a", folder) as a:
        text = one_pool(port, {"a": a.port}, workers=2, shutdown={"orphan": "1m", "drain": "1m"})
        with running_lb(text, folder) as killed, many(port, 20) as sessions:
            orphans = sorted(killed.worker_pids().values())
            killed.signal(signal.SIGKILL)
            killed.wait(2, "it was killed")
            after = folder / "after"
            after.mkdir()
            with running_lb(text, after) as lb:
                assert [sorted(event["pids"]) for event in lb.events("orphans_relieved")] == [orphans]
                assert all(map(echoes, sessions)), "orphans go on with what they have"
                for _ in range(20):
                    with connect(port) as client:
                        assert echoes(client)
                assert len(lb.whole_access()) == 20, "all that is new is the new one's"
                for session in sessions:
                    session.close()
                eventually(lambda: killed.process.family() == [], within_s=5, reason="orphans leave")


def test_second_lb_on_the_same_address_is_refused_and_the_first_goes_on(folder: Path) -> None:
    port = free_port()
    with endpoint("echo", "a", folder) as a:
        text = one_pool(port, {"a": a.port}, workers=2)
        with running_lb(text, folder) as first, many(port, 20) as sessions:
            pids = first.worker_pids()
            after = folder / "after"
            after.mkdir()
            second = LbProcess(text, after)
            assert second.wait(10, "it is refused") == 1
            assert "address already in use" in second.process.err()
            assert all(map(echoes, sessions))
            assert first.worker_pids() == pids
