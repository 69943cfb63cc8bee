"""Unix sockets on either side of a session: bytes and ends as over TCP, and whose fault a failure is."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lb.shell.datapath import Board
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.netns import run_in_netns
from tests.support.scripted_endpoint import (
    FIN,
    RESET,
    TIMEOUT_S,
    ScriptedEndpoint,
    ScriptedUnixEndpoint,
    read_exactly,
    read_to_end,
    reset,
)
from tests.support.streams import InThread, digest, read_digest, send
from tests.support.waiting import eventually, throughout

if TYPE_CHECKING:
    from conftest import Scene

STREAM_BYTES = 30_000_000
WITHIN_S = 60.0
PATTERN = bytes(range(251)) * 800

SIDES = [("unix", "unix"), ("unix", "tcp"), ("tcp", "unix")]


class Stage:
    """A bench whose clients and whose endpoint are of the given kinds."""

    def __init__(self, scene: Scene, folder: Path, clients: str, endpoints: str, **options: Any) -> None:
        self.scene, self.path = scene, str(folder / "front.sock")
        self.endpoint = unix_endpoint(scene, folder) if endpoints == "unix" else scene.endpoint()
        where = (
            self.endpoint.path if isinstance(self.endpoint, ScriptedUnixEndpoint) else self.endpoint.address
        )
        pipes_max = options.pop("pipes_max", 16)
        self.bench = scene.bench(snapshot_of([where], **options), pipes_max=pipes_max, started=False)
        if clients == "unix":
            self.bench.listen_unix(8, 0, self.path)
        self.bench.start()
        self.clients = clients

    def client(self) -> socket.socket:
        return unix_client(self.scene, self.path) if self.clients == "unix" else self.tcp_client()

    def tcp_client(self) -> socket.socket:
        return self.scene.client(self.bench.address)

    def session(self) -> tuple[socket.socket, socket.socket]:
        client = self.client()
        return client, self.scene.enter(self.endpoint.accept())


def unix_endpoint(scene: Scene, folder: Path, name: str = "app.sock", **options: int) -> ScriptedUnixEndpoint:
    made = ScriptedUnixEndpoint(str(folder / name), **options)
    scene.sockets.callback(made.close)
    return made


def unix_client(scene: Scene, path: str) -> socket.socket:
    made = scene.enter(socket.socket(socket.AF_UNIX))
    made.settimeout(TIMEOUT_S)
    made.connect(path)
    return made


@pytest.fixture(params=SIDES, ids=["-".join(sides) for sides in SIDES])
def stage(request: pytest.FixtureRequest, scene: Scene, tmp_path: Path) -> Stage:
    return Stage(scene, tmp_path, *request.param)


# ---- Bytes and ends ----


@pytest.mark.parametrize("pipes_max", [0, 16])
@pytest.mark.parametrize(("clients", "endpoints"), SIDES)
def test_unix_streams_both_ways_at_once_arrive_whole(
    scene: Scene, tmp_path: Path, clients: str, endpoints: str, pipes_max: int
) -> None:
    stage = Stage(scene, tmp_path, clients, endpoints, pipes_max=pipes_max)
    client, server = stage.session()
    work = [
        InThread(send, client, STREAM_BYTES, 1),
        InThread(send, server, STREAM_BYTES, 2),
        InThread(read_digest, server),
        InThread(read_digest, client),
    ]
    _, _, upload, download = [one.result(WITHIN_S) for one in work]
    assert upload == (STREAM_BYTES, digest(STREAM_BYTES, 1))
    assert download == (STREAM_BYTES, digest(STREAM_BYTES, 2))
    record = scene.record(stage.bench)
    assert (record["bytes_in"], record["bytes_out"]) == (STREAM_BYTES, STREAM_BYTES)
    assert record["reason"] == "done"


def test_unix_small_messages_go_to_and_fro(stage: Stage) -> None:
    client, server = stage.session()
    for number in range(300):
        client.sendall(b"ask %d" % number)
        assert read_exactly(server, len(b"ask %d" % number)) == b"ask %d" % number
        server.sendall(b"answer %d" % number)
        assert read_exactly(client, len(b"answer %d" % number)) == b"answer %d" % number


def test_unix_half_close_of_each_side_leaves_the_other_its_way(stage: Stage) -> None:
    client, server = stage.session()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (b"question", FIN)
    server.sendall(PATTERN)
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == (PATTERN, FIN)
    client, server = stage.session()
    server.shutdown(socket.SHUT_WR)
    assert read_to_end(client) == (b"", FIN)
    client.sendall(PATTERN)
    client.close()
    assert read_to_end(server) == (PATTERN, FIN)


@pytest.mark.parametrize("pipes_max", [0, 16])
@pytest.mark.parametrize(("clients", "endpoints"), SIDES)
def test_unix_end_of_stream_behind_a_blocked_reader_comes_after_every_byte(
    scene: Scene, tmp_path: Path, clients: str, endpoints: str, pipes_max: int
) -> None:
    """A unix socket that was closed says HUP at once, long before what came before it was read."""
    stage = Stage(scene, tmp_path, clients, endpoints, pipes_max=pipes_max)
    client, server = stage.session()
    sending = InThread(client.sendall, PATTERN * 40)
    held = stage.bench.engine.held
    eventually(
        lambda: held()["blocks"] + held()["pipes"], within_s=10, reason="the endpoint's side is blocked"
    )
    reading = InThread(read_to_end, server)
    sending.result(20)
    client.close()
    assert reading.result(20) == (PATTERN * 40, FIN)


def test_unix_endpoint_that_sends_and_closes_at_once_is_heard_whole(stage: Stage) -> None:
    client, server = stage.session()
    sending = InThread(server.sendall, PATTERN * 10)
    data, end = read_exactly(client, len(PATTERN) * 10), sending.result(20)
    server.close()
    assert (data == PATTERN * 10, end, read_to_end(client)) == (True, None, (b"", FIN))


def test_unix_client_that_passes_a_descriptor_loses_no_byte(scene: Scene, tmp_path: Path) -> None:
    """The trap: recv() stops where one was passed, as if nothing more had come; and the client has left."""
    stage = Stage(scene, tmp_path, "unix", "tcp")
    client, server = stage.session()
    expected = b""
    for number in range(100):
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [client.fileno()]))]
        client.sendmsg([b"with%d" % number], rights)
        client.sendall(b"behind%d" % number)
        expected += b"with%dbehind%d" % (number, number)
        if number == 50:
            assert read_exactly(server, len(expected)) == expected
            expected = b""
    client.close()
    assert read_to_end(server) == (expected, FIN)


def test_unix_urgent_byte_is_not_lost(scene: Scene, tmp_path: Path) -> None:
    stage = Stage(scene, tmp_path, "unix", "tcp")
    client, server = stage.session()
    try:
        client.send(b"!", socket.MSG_OOB)
    except OSError as error:
        pytest.skip(f"this kernel has no urgent data on unix sockets: {error}")
    expected = b"!"
    for number in range(100):
        client.sendall(b"before%d" % number)
        client.send(b"!", socket.MSG_OOB)
        client.sendall(b"after%d" % number)
        expected += b"before%d!after%d" % (number, number)
    client.shutdown(socket.SHUT_WR)
    assert read_to_end(server) == (expected, FIN)


# ---- Resets ----


def test_unix_client_that_leaves_with_bytes_unread_resets_the_endpoint(scene: Scene, tmp_path: Path) -> None:
    stage = Stage(scene, tmp_path, "unix", "tcp")
    client, server = stage.session()
    client.sendall(b"question")
    assert read_exactly(server, 8) == b"question"
    server.sendall(b"answer")
    eventually(lambda: client.recv(1, socket.MSG_PEEK), within_s=5, reason="the answer has come")
    client.close()
    assert read_to_end(server) == (b"", RESET)
    record = scene.record(stage.bench)
    assert (record["reason"], record["closed_by"]) == ("client_reset", "client")


def test_unix_reset_of_the_endpoint_reaches_a_unix_client_behind_every_byte(
    scene: Scene, tmp_path: Path
) -> None:
    """A unix socket has no reset: it ends, and what was sent before can still be read."""
    stage = Stage(scene, tmp_path, "unix", "tcp")
    client, server = stage.session()
    server.sendall(PATTERN)
    eventually(
        lambda: stage.bench.board.endpoint(0).bytes_out == len(PATTERN), within_s=5, reason="lb has it all"
    )
    reset(server)
    assert read_to_end(client) == (PATTERN, FIN)
    assert scene.record(stage.bench)["reason"] == "endpoint_reset"


def test_unix_session_that_is_cut_ends_for_both(stage: Stage) -> None:
    client, server = stage.session()
    eventually(lambda: stage.bench.board.endpoint(0).sessions_total, within_s=5, reason="it is connected")
    stage.bench.call(stage.bench.engine.close_some, -1, -1, "operator", 0)
    over_tcp = {"unix": FIN, "tcp": RESET}
    assert read_to_end(client) == (b"", over_tcp[stage.clients])
    assert read_to_end(server)[0] == b""
    assert stage.scene.record(stage.bench)["reason"] == "operator"


# ---- Connecting ----


def speaks(bench: EngineBench, scene: Scene, endpoint: ScriptedEndpoint) -> None:
    client, server = scene.session(bench, endpoint)
    client.sendall(b"hello")
    assert read_exactly(server, 5) == b"hello"
    client.close()
    server.close()


def no_file(folder: Path) -> str:
    return str(folder / "absent.sock")


def nobody_listens(folder: Path) -> str:
    """What a server leaves that was killed."""
    path = str(folder / "dead.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
    return path


def no_socket(folder: Path) -> str:
    path = folder / "file"
    path.write_text("")
    return str(path)


def below_a_file(folder: Path) -> str:
    (folder / "blocked").write_text("")
    return str(folder / "blocked" / "app.sock")


@pytest.mark.parametrize(
    ("make", "result"),
    [
        (no_file, "refused"),
        (nobody_listens, "refused"),
        (no_socket, "refused"),
        (below_a_file, "unreachable"),
    ],
)
def test_unix_endpoint_that_cannot_be_reached_is_blamed_and_another_is_tried(
    scene: Scene, tmp_path: Path, make: Callable[[Path], str], result: str
) -> None:
    good, bad = unix_endpoint(scene, tmp_path), make(tmp_path)
    bench = scene.bench(snapshot_of([bad, good.path]))
    for _ in range(20):
        speaks(bench, scene, good)
    records = scene.records(bench, 20)
    assert {record["reason"] for record in records} == {"done"}
    failed = [one for record in records for one in record["attempts"][:-1]]
    assert failed
    assert all(one == {"endpoint": "e0", "address": f"unix:{bad}", "result": result} for one in failed)
    assert bench.call(bench.engine.take_failures) == {0: {result: len(failed), "in_row": len(failed)}}
    alone = scene.bench(snapshot_of([bad]))
    assert scene.is_reset(alone.address)
    record = scene.record(alone)
    assert (record["reason"], record["upstream"]) == ("connect_failed", None)


def test_unix_endpoint_whose_queue_is_full_refuses_and_another_is_tried(scene: Scene, tmp_path: Path) -> None:
    """Over TCP it would not answer, and be waited for."""
    full, good = unix_endpoint(scene, tmp_path, "full.sock", backlog=0), unix_endpoint(scene, tmp_path)
    scene.enter(socket.socket(socket.AF_UNIX)).connect(full.path)
    bench = scene.bench(snapshot_of([full.path, good.path]))
    for _ in range(20):
        speaks(bench, scene, good)
    results = {one["result"] for record in scene.records(bench, 20) for one in record["attempts"][:-1]}
    assert results == {"refused"}
    full.accept().close()
    eventually(lambda: served_by(bench, scene, full), within_s=5, reason="it has room again")


def served_by(bench: EngineBench, scene: Scene, endpoint: ScriptedEndpoint) -> bool:
    scene.client(bench.address).close()
    try:
        endpoint.accept(0.05).close()
    except TimeoutError:
        return False
    return True


def test_unix_connect_without_a_descriptor_is_never_charged_to_the_endpoint(tmp_path: Path) -> None:
    script = """
import resource, socket, sys
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import ScriptedUnixEndpoint, read_to_end
endpoint = ScriptedUnixEndpoint(sys.argv[1])
bench = EngineBench(snapshot_of([endpoint.path], routing_ms=200))
client = socket.create_connection(bench.address, timeout=10)
lowest = socket.socket()
number = lowest.fileno()
lowest.close()
resource.setrlimit(resource.RLIMIT_NOFILE, (number + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
bench.turn_until(lambda: bench.board.listener(0).closed["lb_error"] == 1)
assert read_to_end(client) == (b"", "reset")
counts = bench.board.endpoint(0).connect_failures
assert counts["local"] >= 1 and sum(counts.values()) == counts["local"], counts
assert bench.engine.take_failures() == {}
print("done")
"""
    assert run_in_netns(script, str(tmp_path / "app.sock")) == "done\n"


# ---- Accepting ----


def test_unix_listener_of_two_workers_gives_each_client_to_one(scene: Scene, tmp_path: Path) -> None:
    """All are woken for each client; who is late finds nothing to accept, and goes on."""
    endpoint = scene.endpoint().echo()
    snapshot = snapshot_of([endpoint.address])
    board = Board.create(2)
    benches = [scene.bench(snapshot, board=board, worker=number, started=False) for number in (0, 1)]
    path = str(tmp_path / "front.sock")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen(1024)
        listening.setblocking(False)
        for bench in benches:
            bench.engine.listen(8, 0, os.dup(listening.fileno()))
    for bench in benches:
        bench.start()
    for number in range(100):
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(TIMEOUT_S)
            client.connect(path)
            client.sendall(b"%d" % number)
            client.shutdown(socket.SHUT_WR)
            assert read_to_end(client) == (b"%d" % number, FIN)
    eventually(lambda: board.listener(0).closed["done"] == 100, within_s=10, reason="each has one session")
    assert board.listener(0).sessions_total == 100


def test_unix_listener_that_is_shut_down_is_left_alone(scene: Scene, tmp_path: Path) -> None:
    """It would be reported for ever."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, started=False)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "front.sock"))
        listening.listen(8)
        listening.setblocking(False)
        bench.engine.listen(8, 0, os.dup(listening.fileno()))
        listening.shutdown(socket.SHUT_RDWR)
        bench.engine.step()
        before = bench.board.worker(0).steps_total
        bench.start()
        speaks(bench, scene, endpoint)
        throughout(
            lambda: bench.board.worker(0).steps_total < before + 100, for_s=0.3, reason="it does not spin"
        )


# ---- The record ----


def test_unix_record_names_the_paths(stage: Stage) -> None:
    client, server = stage.session()
    client.close()
    server.close()
    record = stage.scene.record(stage.bench)
    over_tcp = stage.clients == "tcp"
    if not over_tcp:
        assert (record["client"], record["local"]) == ("unix:", f"unix:{stage.path}")
    else:
        assert record["local"] == "{}:{}".format(*stage.bench.address)
    if isinstance(stage.endpoint, ScriptedUnixEndpoint):
        assert record["upstream"] == record["attempts"][0]["address"] == f"unix:{stage.endpoint.path}"
    else:
        assert record["upstream"].startswith("127.0.0.1:")


def test_unix_record_of_a_client_with_a_path_of_its_own_keeps_to_the_family(
    scene: Scene, tmp_path: Path
) -> None:
    stage = Stage(scene, tmp_path, "unix", "unix")
    client = scene.enter(socket.socket(socket.AF_UNIX))
    client.bind(str(tmp_path / "client.sock"))
    client.connect(stage.path)
    stage.endpoint.accept().close()
    client.close()
    assert scene.record(stage.bench)["client"] == "unix:"


def test_unix_record_of_a_path_that_json_would_escape_stays_json(scene: Scene, tmp_path: Path) -> None:
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, started=False)
    path = bench.listen_unix(8, 0, str(tmp_path / 'front"\\\n.sock'))
    bench.start()
    unix_client(scene, path).close()
    endpoint.accept().close()
    assert scene.record(bench)["local"] == f"unix:{tmp_path}/front"


def test_unix_path_of_full_length_is_reached_and_recorded(scene: Scene, tmp_path: Path) -> None:
    folder = os.path.relpath(tmp_path)  # the longest that fits, wherever the temporary folder is
    path = f"{folder}/".ljust(107, "x")
    endpoint = ScriptedUnixEndpoint(path)
    scene.sockets.callback(endpoint.close)
    bench = scene.bench(snapshot_of([path]))
    speaks(bench, scene, endpoint)
    record = scene.record(bench)
    assert (record["upstream"], record["reason"]) == (f"unix:{path}", "done")
