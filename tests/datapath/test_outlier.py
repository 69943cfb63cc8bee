"""What the data path tells of endpoints that fail sessions: how often in a row, and why."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.ports import free_port
from tests.support.scripted_endpoint import ScriptedEndpoint, read_exactly, reset
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

TIMEOUT_MS = 200


def failures(bench: EngineBench) -> dict[int, dict[str, int]]:
    found: dict[int, dict[str, int]] = bench.call(bench.engine.take_failures)
    return found


def in_row(bench: EngineBench) -> int:
    """Since it was asked last."""
    return failures(bench).get(0, {}).get("in_row", 0)


def reset_early(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    client, server = scene.session(bench, endpoint)
    client.sendall(b"?")
    assert read_exactly(server, 1) == b"?"  # so lb knows that it is connected
    reset(server)
    assert scene.record(bench)["reason"] == "endpoint_reset"
    client.close()


def exchange(scene: Scene, bench: EngineBench, endpoint: ScriptedEndpoint) -> None:
    client, server = scene.session(bench, endpoint)
    server.sendall(b"x")
    assert read_exactly(client, 1) == b"x"
    client.close()
    server.close()
    scene.record(bench)


def test_refusals_and_early_resets_count_in_a_row_and_a_first_byte_ends_the_row(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    reset_early(scene, bench, endpoint)
    reset_early(scene, bench, endpoint)
    assert failures(bench) == {0: {"early_reset": 2, "in_row": 2}}
    reset_early(scene, bench, endpoint)
    assert failures(bench) == {0: {"early_reset": 1, "in_row": 3}}
    exchange(scene, bench, endpoint)
    assert failures(bench) == {}
    reset_early(scene, bench, endpoint)
    assert failures(bench) == {0: {"early_reset": 1, "in_row": 1}}
    assert bench.board.endpoint(0).connect_failures["early_reset"] == 4


def test_failed_connects_are_in_the_row(scene: Scene) -> None:
    bench = scene.bench(snapshot_of([("127.0.0.1", free_port())], attempts_max=1))
    for _ in range(3):
        with suppress(ConnectionResetError):  # it may learn of it within connect() already
            scene.client(bench.address)
        assert scene.record(bench)["reason"] == "connect_failed"
    assert failures(bench) == {0: {"refused": 3, "in_row": 3}}


def test_reset_after_the_first_byte_is_none_of_these(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    server.sendall(b"x")
    assert read_exactly(client, 1) == b"x"
    reset(server)
    assert scene.record(bench)["reason"] == "endpoint_reset"
    assert failures(bench) == {}


def test_client_that_resets_blames_nobody(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, _server = scene.session(bench, endpoint)
    reset(client)
    assert scene.record(bench)["reason"] == "client_reset"
    assert failures(bench) == {}


def test_endpoint_that_only_takes_ends_the_row_when_its_session_ends_well(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    reset_early(scene, bench, endpoint)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"a line of a log")
    client.shutdown(socket.SHUT_WR)
    server.close()
    assert scene.record(bench)["reason"] == "done"
    reset_early(scene, bench, endpoint)
    assert in_row(bench) == 1


def test_endpoint_that_was_asked_and_is_silent_has_failed_and_its_session_goes_on(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, first_byte_timeout_ms=TIMEOUT_MS)
    client, server = scene.session(bench, endpoint)
    throughout(lambda: not failures(bench), for_s=3 * TIMEOUT_MS / 1000, reason="nobody has asked")
    client.sendall(b"?")
    found = eventually(lambda: failures(bench), within_s=5, reason="it was asked, and says nothing")
    assert found == {0: {"silent": 1, "in_row": 1}}
    throughout(lambda: not failures(bench), for_s=3 * TIMEOUT_MS / 1000, reason="it is said once")
    server.sendall(b"!")
    assert read_exactly(client, 1) == b"!"


def test_endpoint_that_answers_in_time_is_not_silent_later(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, first_byte_timeout_ms=TIMEOUT_MS)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"?")
    server.sendall(b"!")
    assert read_exactly(client, 1) == b"!"
    client.sendall(b"?")
    throughout(lambda: not failures(bench), for_s=3 * TIMEOUT_MS / 1000, reason="it has answered once")


def test_session_that_asks_nothing_proves_nothing(scene: Scene) -> None:
    """A monitor connects and leaves: it is no proof that the endpoint serves."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    reset_early(scene, bench, endpoint)
    client, server = scene.session(bench, endpoint)
    client.shutdown(socket.SHUT_WR)
    server.close()
    assert scene.record(bench)["reason"] == "done"
    reset_early(scene, bench, endpoint)
    assert in_row(bench) == 2


def test_reset_as_the_answer_to_a_client_that_has_ended_blames_nobody(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint)
    client, server = scene.session(bench, endpoint)
    client.shutdown(socket.SHUT_WR)
    assert server.recv(1) == b""
    reset(server)
    assert scene.record(bench)["reason"] == "endpoint_reset"
    assert failures(bench) == {}


def test_late_first_bytes_do_not_end_the_row(scene: Scene) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, first_byte_timeout_ms=TIMEOUT_MS)
    for count in (1, 2, 3):
        client, server = scene.session(bench, endpoint)
        client.sendall(b"?")
        found = eventually(lambda: failures(bench), within_s=5, reason="it was asked, and says nothing")
        assert found[0]["in_row"] == count
        server.sendall(b"!")
        assert read_exactly(client, 1) == b"!"
