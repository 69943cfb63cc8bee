"""Exactly one JSON line for each session, and it tells what happened."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from lb.shell.datapath import MORE, compile_snapshot
from tests.support.blackhole import blackhole
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.ports import free_port
from tests.support.scripted_endpoint import ScriptedEndpoint, read_exactly, read_to_end, reset
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

KEYS = [
    "time", "listener", "pool", "endpoint", "client", "peer", "local", "upstream", "attempts", "queue_ms",
    "connect_ms", "first_byte_ms", "duration_ms", "bytes_in", "bytes_out",
    "closed_by", "reason", "worker", "sni",
]  # fmt: skip
RING_BYTES = 1 << 22


def test_record_tells_what_happened(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    before = datetime.now(UTC)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"question")
    assert read_exactly(server, 8) == b"question"
    server.sendall(b"the answer")
    server.close()
    assert read_to_end(client)[0] == b"the answer"
    name, peer = client.getsockname(), "{}:{}".format(*endpoint.address)
    client.close()
    record = scene.record(bench)
    assert list(record) == KEYS
    told = datetime.fromisoformat(record.pop("time").replace("Z", "+00:00"))
    assert -0.002 < (told - before).total_seconds() < 10
    upstream = record.pop("upstream")
    assert re.fullmatch(r"127\.0\.0\.1:\d+", upstream)
    assert upstream not in (peer, "{}:{}".format(*name)), "it is lb's own end of that connection"
    spans = [record.pop(key) for key in ("connect_ms", "first_byte_ms", "duration_ms")]
    assert all(isinstance(span, float) and span >= 0 for span in spans)
    assert spans[2] >= spans[1]
    assert record == {
        "listener": "web",
        "pool": "pool",
        "endpoint": "e0",
        "client": "{}:{}".format(*name),
        "peer": None,
        "local": "{}:{}".format(*bench.address),
        "attempts": [{"endpoint": "e0", "address": peer, "result": "connected"}],
        "queue_ms": 0,
        "bytes_in": 8,
        "bytes_out": 10,
        "closed_by": "endpoint",
        "reason": "done",
        "worker": 0,
        "sni": None,
    }


# ---- Every reason that is reachable here ----


def done(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    client, server = scene.session(bench, endpoint)
    client.close()
    server.close()


def client_reset(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    client, _ = scene.session(bench, endpoint)
    reset(client)


def endpoint_reset(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    _, server = scene.session(bench, endpoint)
    eventually(lambda: bench.board.endpoint(0).sessions_total == 1, within_s=5, reason="connected")
    reset(server)  # before, it would be a connect that failed


def nothing(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    scene.session(bench, endpoint)


def half_close(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    _, server = scene.session(bench, endpoint)
    server.shutdown(socket.SHUT_WR)


def refused(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    endpoint.close()
    assert scene.is_reset(bench.address)


def turned_away(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    assert scene.is_reset(bench.address)


def cut(reason: str) -> Callable[[Scene, EngineBench, ScriptedEndpoint], None]:
    def act(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
        scene.session(bench, endpoint)
        eventually(lambda: bench.board.endpoint(0).sessions_total == 1, within_s=5, reason="connected")
        assert bench.call(bench.engine.close_some, -1, 0, reason, 0) == -1

    return act


ENDS: list[tuple[str, str, Callable[..., None], dict[str, Any]]] = [
    ("done", "client", done, {}),
    ("client_reset", "client", client_reset, {}),
    ("endpoint_reset", "endpoint", endpoint_reset, {}),
    ("connect_failed", "lb", refused, {}),
    ("no_endpoint", "lb", turned_away, {"eligible": []}),
    ("idle_timeout", "lb", nothing, {"idle_ms": 50}),
    ("half_close_timeout", "lb", half_close, {"half_close_ms": 50}),
    *((reason, "lb", cut(reason), {}) for reason in ("drained", "endpoint_down", "operator", "shutdown")),
]


@pytest.mark.parametrize(("reason", "closed_by", "act", "options"), ENDS, ids=[one[0] for one in ENDS])
def test_record_has_the_reason_and_who_closed(
    scene: Scene, reason: str, closed_by: str, act: Callable[..., None], options: dict[str, Any]
) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, **options)
    act(scene, bench, endpoint)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == (reason, closed_by)
    counted = bench.board.listener(0)
    assert {name: count for name, count in counted.closed.items() if count} == {reason: 1}
    assert (counted.sessions_total, sum(counted.session_seconds.counts)) == (1, 1)


@pytest.mark.parametrize("first", ["client", "endpoint"])
def test_record_of_a_session_reset_from_both_sides_names_the_first(scene: Scene, first: str) -> None:
    """A send meets the first reset, while what that side sent before waits for the other: reset then, too."""
    endpoint = scene.endpoint(receive_bytes=4096)
    bench = scene.relay(endpoint, started=False)
    client = scene.client(bench.address, receive_bytes=4096)
    bench.turn_until(lambda: bench.board.endpoint(0).sessions_total == 1)
    server = scene.enter(endpoint.accept())
    breaker, other = (client, server) if first == "client" else (server, client)
    breaker.setblocking(False)
    while not is_blocked(bench, breaker):
        pass
    other.sendall(b"for one who is gone")
    reset(breaker)
    bench.engine.step()
    assert bench.engine.sessions_open == 1, "what was sent before the reset is still to be delivered"
    reset(other)
    bench.turn_until(bench.is_empty)
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == (f"{first}_reset", first)


def is_blocked(bench: EngineBench, sender: socket.socket) -> bool:
    """Sends what goes, and lets the engine turn; true once nothing goes any more."""
    try:
        sender.send(bytes(1 << 20))
    except BlockingIOError:
        held = bench.engine.held()
        return not bench.engine.step() & MORE and bool(held["blocks"] + held["pipes"])
    bench.engine.step()
    return False


def test_record_of_an_attempt_that_was_cut_short_says_unfinished(scene: Scene) -> None:
    port = scene.enter(blackhole()).port
    bench = scene.bench(snapshot_of([("127.0.0.1", port)], connect_timeout_ms=60_000))
    scene.client(bench.address)
    eventually(lambda: bench.engine.sessions_open, within_s=5, reason="it connects")
    bench.call(bench.engine.close_some, -1, 0, "operator", 0)
    record = scene.record(bench)
    assert [one["result"] for one in record["attempts"]] == ["unfinished"]
    assert (record["connect_ms"], record["first_byte_ms"], record["upstream"] is None) == (None, None, False)


def test_record_with_the_longest_names_and_most_attempts_is_whole(scene: Scene) -> None:
    import dataclasses

    made = snapshot_of([("127.0.0.1", free_port()) for _ in range(8)], attempts_max=8)
    longest = [
        dataclasses.replace(line, name="e" * 127 + str(i), pool="p" * 128)
        for i, line in enumerate(made.endpoints)
    ]
    made = dataclasses.replace(
        made,
        endpoints=tuple(longest),
        pools=(dataclasses.replace(made.pools[0], name="p" * 128),),
        listeners=(dataclasses.replace(made.listeners[0], name="l" * 128),),
    )
    bench = scene.bench(made)
    assert scene.is_reset(bench.address)
    record = scene.record(bench)
    assert (record["listener"], record["pool"]) == ("l" * 128, "p" * 128)
    assert sorted(one["endpoint"] for one in record["attempts"]) == [line.name for line in longest]


def test_record_with_names_beyond_ascii_is_json(scene: Scene) -> None:
    import dataclasses

    made = snapshot_of([], eligible=[])
    made = dataclasses.replace(made, listeners=(dataclasses.replace(made.listeners[0], name="Größe-网"),))
    bench = scene.bench(made)
    assert scene.is_reset(bench.address)
    assert scene.record(bench)["listener"] == "Größe-网"


def test_sessions_without_a_log_are_counted_all_the_same(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, log=False)
    done(scene, bench, endpoint)
    eventually(lambda: bench.board.listener(0).closed["done"] == 1, within_s=5, reason="it ended")
    assert (bench.lines(), bench.board.worker(0).access_dropped_total) == ([], 0)


def test_full_ring_drops_whole_records_and_counts_them(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    filler = b"x" * 4095 + b"\n"
    while bench.ring.map.put(filler):
        pass
    done(scene, bench, endpoint)
    eventually(lambda: bench.board.worker(0).access_dropped_total == 1, within_s=5, reason="it was dropped")
    assert set(bench.lines()) == {filler[:-1]}
    done(scene, bench, endpoint)
    assert scene.record(bench)["reason"] == "done"


def test_snapshot_descriptor_stays_the_callers() -> None:
    import os

    fd = compile_snapshot(snapshot_of([]))
    bench = EngineBench(None)
    bench.engine.publish(fd)
    os.close(fd)  # raises if the engine had closed it
    bench.close()
