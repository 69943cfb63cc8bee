"""How sessions are spread over endpoints, whichever worker takes them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from tests.support.endpoints import endpoints, ports_of
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.scale import Scale
from tests.support.sessions import connect, read_all
from tests.support.waiting import eventually

SHARES_RATIO_MAX = 1.05


def names_served(port: int, sessions: int) -> Counter[str]:
    """One session after the other, each answered by an endpoint with its name."""
    served: Counter[str] = Counter()
    for _ in range(sessions):
        with connect(port) as client:
            served[read_all(client).decode()] += 1
    return served


def test_round_robin_over_four_workers_is_even(folder: Path) -> None:
    port = free_port()
    with endpoints("name", "a b c", folder) as started:
        text = one_pool(port, ports_of(started), pool={"check": {"type": "tcp"}}, workers=4)
        with running_lb(text, folder) as lb:
            served = names_served(port, 3000)
            by_worker = {pid: index for index, pid in lb.worker_pids().items()}
    ratio = max(served.values()) / min(served.values())
    print(f"\n{dict(served)}: max/min {ratio:.3f}, {len(by_worker)} workers")
    assert served.total() == 3000
    assert set(served) == {"a", "b", "c"}
    assert ratio <= SHARES_RATIO_MAX


def test_weights_share_sessions_in_proportion(folder: Path, scale: Scale) -> None:
    port, sessions = free_port(), scale.of(full=3000, ci=600)
    with endpoints("name", "a b c", folder) as started:
        members = [
            {"name": name, "address": f"127.0.0.1:{started[name].port}", "weight": weight}
            for name, weight in (("a", 1), ("b", 2), ("c", 3))
        ]
        text = one_pool(port, {}, pool={"endpoints": members}, workers=2)
        with running_lb(text, folder) as lb:
            served = names_served(port, sessions)
            print(f"\nweights 1, 2, 3: {dict(served)}")
            for name, weight in (("a", 1), ("b", 2), ("c", 3)):
                assert abs(served[name] - sessions * weight / 6) <= 6, served

            done = lb.command("weight", "web/c", "0")
            assert done.returncode == 0, done
            served = names_served(port, sessions)
            print(f"weight of c ordered to 0: {dict(served)}")
            assert set(served) == {"a", "b"}
            assert abs(served["b"] - 2 * served["a"]) <= 6


def test_least_connections_follows_open_sessions_of_all_workers(folder: Path) -> None:
    """Of sessions that stay, each new one goes to an endpoint with the fewest."""
    port, workers = free_port(), 2
    with endpoints("hold", "a b c", folder) as started:
        text = one_pool(port, ports_of(started), pool={"policy": "least_connections"}, workers=workers)
        with running_lb(text, folder) as lb:
            clients = []
            try:
                for number in range(60):
                    clients.append(connect(port))
                    wait_open(lb, number + 1)
                counts = [lb.endpoint(name)["sessions_open"] for name in "abc"]
            finally:
                for client in clients:
                    client.close()
    print(f"\n60 sessions by least connections: {counts}")
    assert max(counts) - min(counts) <= workers


def wait_open(lb: LbProcess, count: int) -> None:
    eventually(
        lambda: lb.status()["listeners"][0]["sessions_open"] == count,
        within_s=5,
        reason=f"{count} sessions are open",
    )
