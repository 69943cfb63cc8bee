"""Who is let in, and how those end who are not."""

from __future__ import annotations

import itertools
import socket
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from lb._ext.gate import SourceTables
from lb.model.listener import RefuseBy
from lb.model.snapshot import Snapshot
from lb.shell.datapath import Board
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.netns import run_in_netns
from tests.support.scripted_endpoint import FIN, RESET, ScriptedEndpoint, read_exactly, read_to_end
from tests.support.snapshots import networks, with_listener
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

LOOPBACK = networks("127.0.0.0/8")
NOBODY = networks("192.0.2.0/24")


def guarded(endpoint: ScriptedEndpoint, **keys: Any) -> Snapshot:
    return with_listener(snapshot_of([endpoint.address]), **keys)


def client_from(scene: Scene, bench: EngineBench, host: str) -> socket.socket:
    return scene.enter(socket.create_connection(bench.address, timeout=10, source_address=(host, 0)))


def is_served(client: socket.socket) -> bool:
    """By an endpoint that echoes."""
    client.sendall(b"?")
    return read_exactly(client, 1) == b"?"


def is_refused(scene: Scene, bench: EngineBench, host: str) -> bool:
    """Whether a new client is reset, maybe before connect() returns; else it is served, and stays."""
    try:
        client = client_from(scene, bench, host)
        client.sendall(b"?")
        refused = client.recv(1) == b""
    except (ConnectionResetError, BrokenPipeError):
        return True
    if refused:
        client.close()
    return refused


# ---- Lists ----


@pytest.mark.parametrize(
    ("keys", "served"),
    [
        ({}, True),
        ({"allow": LOOPBACK}, True),
        ({"allow": NOBODY}, False),
        ({"allow": networks()}, False),
        ({"deny": NOBODY}, True),
        ({"deny": LOOPBACK}, False),
        ({"allow": LOOPBACK, "deny": networks("127.0.0.2")}, False),
        ({"allow": networks("127.0.0.2"), "deny": LOOPBACK}, False),
    ],
    ids=str,
)
def test_client_is_let_in_who_is_allowed_and_not_denied(scene: Scene, keys: Any, served: bool) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(guarded(endpoint, **keys))
    assert is_refused(scene, bench, "127.0.0.2") != served
    if served:
        return
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"], record["attempts"]) == ("refused_acl", "lb", [])
    assert bench.board.listener(0).refused["refused_acl"] == 1


def test_deny_list_that_is_reloaded_holds_for_new_sessions_alone(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(guarded(endpoint))
    client = client_from(scene, bench, "127.0.0.2")
    assert is_served(client)
    bench.call(bench.publish, guarded(endpoint, deny=networks("127.0.0.2")))
    assert is_refused(scene, bench, "127.0.0.2")
    assert not is_refused(scene, bench, "127.0.0.3")
    assert is_served(client)


# ---- Sessions per source ----


def test_source_at_its_limit_is_refused_over_all_workers_and_others_are_not(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    board = Board.create(2)
    snapshot = guarded(endpoint, sessions_max_per_source=3)
    benches = [scene.bench(snapshot, board=board, worker=index) for index in (0, 1)]
    held = [client_from(scene, benches[number % 2], "127.0.0.2") for number in range(3)]
    assert all(is_served(client) for client in held)
    for bench in benches:
        assert is_refused(scene, bench, "127.0.0.2")
        assert not is_refused(scene, bench, "127.0.0.3")
    assert board.listener(0).refused["refused_limit"] == 2
    held[0].close()
    eventually(
        lambda: not is_refused(scene, benches[1], "127.0.0.2"),
        within_s=5,
        reason="one of its has left",
    )
    assert board.listener(0).sources_untracked == 0


def test_source_at_its_limit_at_one_listener_is_let_in_at_another(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    snapshot = with_listener(snapshot_of([endpoint.address], listeners=2), sessions_max_per_source=1)
    bench = scene.bench(snapshot)
    other = bench.call(bench.listen, 8, 1)
    assert not is_refused(scene, bench, "127.0.0.2")
    assert is_refused(scene, bench, "127.0.0.2")
    assert is_served(scene.enter(socket.create_connection(other, 10, ("127.0.0.2", 0))))


def is_refused_for(scene: Scene, bench: EngineBench, host: str) -> bool:
    """Whether a client of this address is, who comes by way of another proxy; else it stays."""
    family = "TCP6" if ":" in host else "TCP4"
    client = scene.client(bench.address)
    client.sendall(f"PROXY {family} {host} {host} 1 2\r\n?".encode())
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def test_source_is_an_ipv4_address_or_a_64_of_ipv6_whoever_brings_it(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(guarded(endpoint, accept_proxy=LOOPBACK, sessions_max_per_source=1))
    assert not is_refused_for(scene, bench, "2001:db8::1")
    assert is_refused_for(scene, bench, "2001:db8::ffff:ffff:ffff:ffff")
    assert not is_refused_for(scene, bench, "2001:db8:0:1::1")
    assert not is_refused_for(scene, bench, "192.0.2.1")
    assert is_refused_for(scene, bench, "::ffff:192.0.2.1")
    assert not is_refused_for(scene, bench, "::ffff:192.0.2.2")
    assert is_refused_for(scene, bench, "192.0.2.2")


class TablesOfTwoWorkers(RuleBasedStateMachine):
    """Few keys, all of one set, so that cells change hands; the oracle is a list of who is open where."""

    def __init__(self) -> None:
        super().__init__()
        self.board = Board.create(2)
        self.tables = [SourceTables(self.board.fd, index) for index in (0, 1)]
        self.open: list[tuple[int, int, int]] = []  # worker, key, cell

    @rule(worker=st.integers(0, 1), number=st.integers(0, 18))
    def enter(self, worker: int, number: int) -> None:
        key = 5 + 8192 * number
        here = {known for at, known, _ in self.open if at == worker}
        cell = self.tables[worker].enter(key)
        assert (cell is None) == (key not in here and len(here) == 16)
        if cell is not None:
            self.open.append((worker, key, cell))
        self.check()

    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        if self.open:
            worker, _, cell = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
            self.tables[worker].leave(cell)
            self.check()

    @rule(worker=st.integers(0, 1))
    def worker_dies(self, worker: int) -> None:
        self.board.forget_worker(worker)
        self.open = [one for one in self.open if one[0] != worker]
        self.check()

    def check(self) -> None:
        for number in range(19):
            key = 5 + 8192 * number
            expected = sum(known == key for _, known, _ in self.open)
            assert [tables.open(key) for tables in self.tables] == [expected] * 2

    def teardown(self) -> None:
        self.board.close()


TestTablesOfTwoWorkers = TablesOfTwoWorkers.TestCase
TestTablesOfTwoWorkers.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


# ---- Rate per source ----


def test_source_beyond_its_rate_is_refused_and_others_are_not(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(guarded(endpoint, rate_max_per_source=1))
    refused = [is_refused(scene, bench, "127.0.0.2") for _ in range(8)]
    assert not refused[0]
    assert not is_refused(scene, bench, "127.0.0.3")
    counts = bench.board.listener(0)
    assert counts.refused["refused_rate"] == refused.count(True) > 0


def test_session_refused_for_its_rate_is_not_counted_as_open(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(guarded(endpoint, rate_max_per_source=1, sessions_max_per_source=2))
    assert not is_refused(scene, bench, "127.0.0.2")
    knocks = (is_refused(scene, bench, "127.0.0.2") for _ in range(100_000))
    refused = sum(itertools.takewhile(bool, knocks))  # until the next token came: there was room still
    counts = bench.board.listener(0)
    assert (counts.refused["refused_rate"], counts.refused["refused_limit"]) == (refused, 0)


# ---- Dry runs ----


def test_dry_run_counts_what_it_would_refuse_and_lets_all_in(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(
        guarded(endpoint, deny=networks("127.0.0.2"), sessions_max_per_source=2, dry_run=True)
    )
    held = [client_from(scene, bench, "127.0.0.3") for _ in range(5)]
    held += [client_from(scene, bench, "127.0.0.2") for _ in range(4)]
    assert all(is_served(client) for client in held)
    counts = bench.board.listener(0)
    assert counts.would_refuse == {"refused_acl": 4, "refused_rate": 0, "refused_limit": 3}
    assert sum(counts.refused.values()) == 0


def test_dry_run_of_the_listener_s_own_limit_counts_who_came_over_it(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(with_listener(snapshot_of([endpoint.address], sessions_max=3), dry_run=True))
    held = [client_from(scene, bench, "127.0.0.1") for _ in range(5)]
    assert all(is_served(client) for client in held)
    assert bench.board.listener(0).would_refuse["refused_limit"] == 2
    assert bench.board.worker(0).accept_paused_total == 0


def test_dry_run_does_not_lift_the_limit_over_all_listeners(scene: Scene) -> None:
    endpoint = scene.endpoint().echo()
    bench = scene.bench(guarded(endpoint, dry_run=True), sessions_max_all=2)
    held = [client_from(scene, bench, "127.0.0.1") for _ in range(2)]
    assert all(is_served(client) for client in held)
    client_from(scene, bench, "127.0.0.1")
    eventually(lambda: bench.board.worker(0).accept_paused_total == 1, within_s=5, reason="it paused")
    assert bench.engine.sessions_open == 2


# ---- How a refusal ends ----


def refused(scene: Scene, refuse_by: RefuseBy, early: bytes) -> tuple[EngineBench, socket.socket]:
    """A client that is not allowed, and has sent something before lb looks at it."""
    endpoint = scene.endpoint()
    bench = scene.bench(guarded(endpoint, allow=NOBODY, refuse_by=refuse_by), started=False)
    client = scene.client(bench.address)
    if early:
        client.sendall(early)
    bench.turn_until(lambda: bench.board.listener(0).refused["refused_acl"] == 1)
    return bench, client


@pytest.mark.parametrize("early", [b"", b"x" * 40_000], ids=["silent", "talking"])
@pytest.mark.parametrize(("refuse_by", "end"), [(RefuseBy.RESET, RESET), (RefuseBy.CLOSE, FIN)])
def test_refusal_ends_as_it_was_configured(scene: Scene, refuse_by: RefuseBy, end: str, early: bytes) -> None:
    bench, client = refused(scene, refuse_by, early)
    assert read_to_end(client) == (b"", end)
    assert scene.record(bench)["reason"] == "refused_acl"


SILENCE = """
import ctypes, os, select, socket, sys
from lb.model.listener import RefuseBy
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.snapshots import networks, with_listener

privileged = sys.argv[1] == "privileged"
if not privileged and len(sys.argv) == 2:
    assert ctypes.CDLL(None).prctl(24, 12) == 0  # PR_CAPBSET_DROP, CAP_NET_ADMIN: gone with the next exec
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], "unprivileged", "again"])
sniffing = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800))
sniffing.bind(("lo", 0))
bench = EngineBench(with_listener(
    snapshot_of([("127.0.0.1", 1)]), deny=networks("127.0.0.1"), refuse_by=RefuseBy.SILENCE))
client = socket.create_connection(bench.address)
client.sendall(b"early")
bench.turn_until(lambda: bench.board.listener(0).refused["refused_acl"] == 1)
assert bench.is_empty(), bench.engine.held()
told = bool(select.select([client], [], [], 0.3)[0])
hops = set()
sniffing.setblocking(False)
while select.select([sniffing], [], [], 0)[0]:
    packet = sniffing.recv(4096)
    source, flags = int.from_bytes(packet[20:22], "big"), packet[33]
    if source == bench.address[1] and flags & 5:  # RST, FIN
        hops.add(packet[8])
print(told, sorted(hops))
"""


@pytest.mark.parametrize(("privileges", "seen"), [("privileged", "False []"), ("unprivileged", "True [1]")])
def test_refusal_in_silence_is_heard_by_nobody_or_one_hop_far(privileges: str, seen: str) -> None:
    """Without CAP_NET_ADMIN a reset leaves that no router passes on; on loopback it arrives."""
    assert run_in_netns(SILENCE, privileges).strip() == seen


def test_refusal_in_silence_gives_everything_back(scene: Scene) -> None:
    bench, _ = refused(scene, RefuseBy.SILENCE, b"early")
    assert bench.is_empty()
    assert scene.record(bench)["reason"] == "refused_acl"
    throughout(bench.is_empty, for_s=0.05, reason="nothing is left of it")
