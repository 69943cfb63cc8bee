"""Maglev as its users see it: each source has its endpoint, and keeps it while that endpoint stands.

Where a source belongs is known beforehand: table and hash depend on the names, the weights and the key alone.
So nothing here is a matter of luck.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from hashlib import blake2b
from pathlib import Path

import pytest

from lb.model.pool import Policy
from tests.support.greeters import Greeters, greeters
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.pick_trial import picking, pool_of
from tests.support.ports import free_port
from tests.support.scale import Scale
from tests.support.sessions import WITHIN_S, echoes
from tests.support.waiting import eventually

NAMES = [f"e{number}" for number in range(10)]
SECRET = "nobody aims at an endpoint"
# Chi-square exceeds this once in a thousand, with nine degrees of freedom.
RARE = 27.9


def sources(count: int) -> list[str]:
    """Loopback has 16 million addresses."""
    return [f"127.{1 + number % 200}.{number // 200 % 256}.{1 + number % 97}" for number in range(count)]


def homes(names: list[str], clients: list[str], gone: str = "") -> dict[str, str]:
    """Where each belongs; `gone` is in the table, but not eligible."""
    key = blake2b(SECRET.encode(), digest_size=16).digest()
    eligible = [number for number, name in enumerate(names) if name != gone]
    with picking(pool_of(Policy.MAGLEV, [1] * len(names), names=names, eligible=eligible, key=key)) as trial:
        return {client: names[picked] for client in clients if isinstance(picked := trial.pick(client), int)}


def session(port: int, source: str) -> tuple[socket.socket, str]:
    """A new one, and who answers it."""
    client = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S, source_address=(source, 0))
    greeting = b""
    while not greeting.endswith(b"\n"):
        data = client.recv(64)
        assert data, f"the session of {source} ended before an endpoint spoke"
        greeting += data
    return client, greeting.decode().strip()


def served(port: int, clients: list[str]) -> dict[str, str]:
    """By source, the endpoint that answers a new session of it."""
    found = {}
    for source in clients:
        client, found[source] = session(port, source)
        client.close()
    return found


@contextmanager
def live(port: int, clients: list[str]) -> Iterator[dict[str, tuple[socket.socket, str]]]:
    with ExitStack() as stack:
        opened = {source: session(port, source) for source in clients}
        for client, _ in opened.values():
            stack.enter_context(client)
        yield opened


def text(port: int, made: Greeters, names: list[str]) -> str:
    rule = {"policy": "maglev", "hash": {"on": "source_ip", "key": SECRET}, "check": {"type": "tcp"}}
    return one_pool(port, {name: made.ports[name] for name in names}, pool=rule, workers=2)


@contextmanager
def running(folder: Path) -> Iterator[tuple[LbProcess, Greeters, int]]:
    port = free_port()
    with greeters(NAMES) as made, running_lb(text(port, made, NAMES), folder) as lb:
        yield lb, made, port


def test_sources_go_where_the_table_says_over_both_workers(folder: Path, scale: Scale) -> None:
    clients = sources(scale.of(full=20_000, ci=2_000))
    with running(folder) as (lb, _, port):
        found = served(port, clients)
        assert found == homes(NAMES, clients)
        workers = {line["worker"] for line in lb.whole_access()}
    shares = Counter(found.values())
    mean = len(clients) / len(NAMES)
    chi_square = sum((shares[name] - mean) ** 2 / mean for name in NAMES)
    print(f"\n{len(clients)} sources: {sorted(shares.items())}, chi-square {chi_square:.1f}")
    assert workers == {0, 1}
    assert chi_square < RARE


@pytest.mark.parametrize("way", ["drained", "down", "removed"])
def test_endpoint_that_leaves_takes_no_live_session_and_moves_its_own_sources(way: str, folder: Path) -> None:
    """Drained or DOWN, its sources alone move. Removed, the table is another one: of those that stay, at most
    2 % move too. In no case does a live session: those of the one that leaves go on as well."""
    clients, gone = sources(1000), "e3"
    with running(folder) as (lb, made, port), live(port, clients[:200]) as standing:
        before = served(port, clients)
        leave(way, gone, lb, made, port)
        own = [source for source in clients if before[source] == gone]
        eventually(lambda: gone not in served(port, own).values(), within_s=10, reason="both workers know")
        after = served(port, clients)
        kept = [name for name in NAMES if name != gone]
        assert after == (homes(kept, clients) if way == "removed" else homes(NAMES, clients, gone))
        strangers = [source for source in clients if before[source] not in (gone, after[source])]
        moved = [source for source in clients if before[source] != after[source]]
        print(f"\n{way}: {len(moved)} of {len(clients)} sources moved, {len(strangers)} of other endpoints")
        assert len(strangers) <= (0.02 * len(clients) if way == "removed" else 0)
        assert all(after[source] != gone for source in clients)
        assert gone in {name for _, name in standing.values()}
        assert all(echoes(client) for client, _ in standing.values())


def leave(way: str, gone: str, lb: LbProcess, made: Greeters, port: int) -> None:
    if way == "drained":
        done = lb.command("drain", f"web/{gone}")
        assert done.returncode == 0, done
    elif way == "down":
        made.stop_listening(gone)
        eventually(lambda: lb.health(gone) == "DOWN", within_s=10, reason="probes are refused")
    else:
        lb.replace(text(port, made, [name for name in NAMES if name != gone]))
        answer = lb.reload()
        assert answer["ok"], answer


def test_endpoint_that_is_up_again_gets_its_sources_back(folder: Path) -> None:
    clients, gone = sources(500), "e3"
    with running(folder) as (lb, made, port):
        before = served(port, clients)
        leave("drained", gone, lb, made, port)
        own = [source for source in clients if before[source] == gone]
        eventually(lambda: gone not in served(port, own).values(), within_s=10, reason="both workers know")
        done = lb.command("ready", f"web/{gone}", "--wait")
        assert done.returncode == 0, done
        eventually(lambda: set(served(port, own).values()) == {gone}, within_s=10, reason="both workers know")
        assert served(port, clients) == before


def test_file_in_another_order_sends_every_source_to_the_same_endpoint(folder: Path) -> None:
    """Two instances need not have the same file, but the same names, weights and key."""
    clients = sources(500)
    with running(folder) as (lb, made, port):
        before = served(port, clients)
        lb.replace(text(port, made, NAMES[::-1]))
        assert lb.reload()["ok"]
        assert served(port, clients) == before
