"""Each way in which a session ends: exactly one record, with the right reason and who closed it.

A row of ENDINGS is one way: what happens, and what the record must say of it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.support.blackhole import blackhole
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.ports import free_port
from tests.support.scripted_endpoint import ScriptedEndpoint, read_exactly, reset
from tests.support.vanishing import vanish
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

QUICK = {"connect_timeout_ms": 50}  # the wheel meets a session this soon, for its other deadlines


class Way(NamedTuple):
    """What a way to end may use: a session's both ends, if the row opens one."""

    scene: Scene
    bench: EngineBench
    client: socket.socket
    server: socket.socket


class Ending(NamedTuple):
    """`session` False: there is none yet; `happens` gets the scene and makes the bench itself."""

    reason: str
    closed_by: str
    happens: Callable[[Any], EngineBench | None]
    options: Mapping[str, Any] = MappingProxyType({})
    session: bool = True


# ---- By the peers ----


def client_closes_first(way: Way) -> None:
    way.client.close()
    assert way.server.recv(1) == b""
    way.server.close()


def endpoint_closes_first(way: Way) -> None:
    way.server.close()
    assert way.client.recv(1) == b""
    way.client.close()


def client_half_closes(way: Way) -> None:
    way.client.shutdown(socket.SHUT_WR)


def endpoint_half_closes(way: Way) -> None:
    way.server.shutdown(socket.SHUT_WR)


def client_resets(way: Way) -> None:
    reset(way.client)


def endpoint_resets(way: Way) -> None:
    reset(way.server)


def client_leaves_bytes_unread(way: Way) -> None:
    """Closing resets then."""
    way.server.sendall(bytes(1000))
    eventually(lambda: way.client.recv(1, socket.MSG_PEEK), within_s=5, reason="they are there")
    way.client.close()


def client_vanishes(way: Way) -> None:
    vanish(way.client)
    way.server.sendall(b"are you there?")


def endpoint_vanishes(way: Way) -> None:
    vanish(way.server)
    way.client.sendall(b"are you there?")


def client_vanishes_silently(way: Way) -> None:
    vanish(way.client)


def endpoint_vanishes_silently(way: Way) -> None:
    vanish(way.server)


def nothing_happens(way: Way) -> None:
    way.client.sendall(b"once")
    assert read_exactly(way.server, 4) == b"once"


def reader_stops(way: Way) -> None:
    way.client.settimeout(0.1)
    with pytest.raises(TimeoutError):
        way.client.sendall(bytes(64 << 20))


# ---- By orders ----


def endpoint_is_closed_for(reason: str) -> Callable[[Way], None]:
    def happens(way: Way) -> None:
        way.bench.call(way.bench.engine.close_some, 0, -1, reason, 0)

    return happens


def all_are_closed_for(reason: str) -> Callable[[Way], None]:
    def happens(way: Way) -> None:
        way.bench.call(way.bench.engine.close_some, -1, -1, reason, 0)

    return happens


# ---- Before there is a session ----


def every_port_is_closed(scene: Scene) -> EngineBench:
    bench = scene.bench(snapshot_of([("127.0.0.1", free_port()) for _ in range(2)]))
    scene.is_reset(bench.address)
    return bench


def endpoint_answers_no_syn(scene: Scene) -> EngineBench:
    hole = ("127.0.0.1", scene.enter(blackhole()).port)
    bench = scene.bench(snapshot_of([hole], connect_timeout_ms=100))
    scene.is_reset(bench.address)
    return bench


def client_resets_while_connecting(scene: Scene) -> EngineBench:
    hole = ("127.0.0.1", scene.enter(blackhole()).port)
    bench = scene.bench(snapshot_of([hole], connect_timeout_ms=60_000))
    client = scene.client(bench.address)
    eventually(lambda: bench.engine.sessions_open, within_s=5, reason="it connects")
    reset(client)
    return bench


def nothing_is_eligible(scene: Scene) -> EngineBench:
    bench = scene.bench(snapshot_of([("127.0.0.1", free_port())], eligible=[]))
    scene.is_reset(bench.address)
    return bench


def every_endpoint_is_full(scene: Scene) -> EngineBench:
    """By one session, which goes on."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, endpoint_sessions_max=1)
    scene.session(bench, endpoint)
    scene.is_reset(bench.address)
    return bench


ENDINGS = {
    "client closes first": Ending("done", "client", client_closes_first),
    "endpoint closes first": Ending("done", "endpoint", endpoint_closes_first),
    "client half-closes, half_close 0": Ending("done", "client", client_half_closes, {"half_close_ms": 0}),
    "endpoint half-closes, half_close 0": Ending(
        "done", "endpoint", endpoint_half_closes, {"half_close_ms": 0}
    ),
    "client resets": Ending("client_reset", "client", client_resets),
    "endpoint resets": Ending("endpoint_reset", "endpoint", endpoint_resets),
    "client leaves bytes unread": Ending("client_reset", "client", client_leaves_bytes_unread),
    "client resets while connecting": Ending(
        "client_reset", "client", client_resets_while_connecting, session=False
    ),
    "client vanishes": Ending(
        "client_vanished", "client", client_vanishes, QUICK | {"user_timeout_ms": 1000}
    ),
    "endpoint vanishes": Ending(
        "endpoint_vanished", "endpoint", endpoint_vanishes, QUICK | {"user_timeout_ms": 1000}
    ),
    "client vanishes, idle": Ending(
        "client_vanished", "client", client_vanishes_silently, QUICK | {"keepalive_s": (1, 1, 1)}
    ),
    "endpoint vanishes, idle": Ending(
        "endpoint_vanished", "endpoint", endpoint_vanishes_silently, QUICK | {"keepalive_s": (1, 1, 1)}
    ),
    "every port is closed": Ending("connect_failed", "lb", every_port_is_closed, session=False),
    "endpoint answers no SYN": Ending("connect_failed", "lb", endpoint_answers_no_syn, session=False),
    "nothing is eligible": Ending("no_endpoint", "lb", nothing_is_eligible, session=False),
    "every endpoint is full": Ending("refused_limit", "lb", every_endpoint_is_full, session=False),
    "nothing moves": Ending("idle_timeout", "lb", nothing_happens, QUICK | {"idle_ms": 200}),
    "reader stops, nothing moves": Ending("idle_timeout", "lb", reader_stops, QUICK | {"idle_ms": 200}),
    "client half-closes, nothing moves": Ending(
        "half_close_timeout", "lb", client_half_closes, QUICK | {"half_close_ms": 200}
    ),
    "endpoint half-closes, nothing moves": Ending(
        "half_close_timeout", "lb", endpoint_half_closes, QUICK | {"half_close_ms": 200}
    ),
    "its age is reached": Ending("lifetime", "lb", nothing_happens, QUICK | {"age_max_ms": 300}),
    "its endpoint is drained": Ending("drained", "lb", endpoint_is_closed_for("drained")),
    "its endpoint is down": Ending("endpoint_down", "lb", endpoint_is_closed_for("endpoint_down")),
    "an operator says so": Ending("operator", "lb", endpoint_is_closed_for("operator")),
    "lb stops": Ending("shutdown", "lb", all_are_closed_for("shutdown")),
}


@pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS.keys())
def test_session_leaves_one_record_of_how_it_ended(scene: Scene, ending: Ending) -> None:
    if ending.session:
        endpoint = ScriptedEndpoint(receive_bytes=4096)
        scene.sockets.callback(endpoint.close)
        bench = scene.relay(endpoint, **ending.options)
        client, server = scene.session(bench, endpoint)
        eventually(
            lambda: bench.board.endpoint(0).sessions_total, within_s=5, reason="lb knows it is connected"
        )
        ending.happens(Way(scene, bench, client, server))
    else:
        made = ending.happens(scene)
        assert made is not None
        bench = made
    record = scene.record(bench)
    assert (record["reason"], record["closed_by"]) == (ending.reason, ending.closed_by)
    closed = {reason: count for reason, count in bench.board.listener(0).closed.items() if count}
    assert closed == {ending.reason: 1}
    assert bench.lines() == [], "one record, and no more"
