"""Readers that stop: little is kept for them, their senders stop too, others go on, and no byte is lost."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.engine_bench import snapshot_of
from tests.support.scripted_endpoint import read_exactly, read_to_end
from tests.support.streams import InThread
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from conftest import Scene

SMALL_BUFFER = 4096
STALLED = 300
DATA = bytes(range(256)) * 32_768  # 8 MiB
ENDLESS_BYTES = 64 << 20
MEMORY_BYTES_MAX = 24 << 20


def send_until_it_blocks(connection: socket.socket, data: bytes) -> int:
    """How much a sender gets rid of before its window is closed."""
    connection.settimeout(0.5)
    sent = 0
    try:
        while sent < len(data):
            sent += connection.send(data[sent : sent + 65_536])
    except TimeoutError:
        connection.settimeout(10.0)
    return sent


@pytest.mark.parametrize("pipes_max", [0, 16])
@pytest.mark.parametrize("by", ["client", "endpoint"])
def test_reader_that_stops_holds_one_block_or_pipe_and_stops_its_sender(
    scene: Scene, pipes_max: int, by: str
) -> None:
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, pipes_max=pipes_max)
    client, server = scene.session(bench, endpoint, receive_bytes=SMALL_BUFFER)
    reader, sender = (client, server) if by == "client" else (server, client)
    sent = send_until_it_blocks(sender, DATA * 8)
    assert sent < ENDLESS_BYTES, "the sender's window stays open"
    held = bench.engine.held()
    assert held["blocks"] + held["pipes"] == 1
    reading = InThread(read_exactly, reader, sent)
    assert reading.result(20) == (DATA * 8)[:sent]
    sender.sendall(b"and on")
    assert read_exactly(reader, 6) == b"and on"


def resident_bytes() -> int:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024


def test_readers_that_stop_are_bounded_in_memory_and_hold_nobody_up(scene: Scene) -> None:
    endpoint, lively = scene.endpoint(receive_bytes=SMALL_BUFFER), scene.endpoint().echo()
    addresses = [endpoint.address, lively.address]
    bench = scene.bench(
        snapshot_of(addresses, eligible=[0]), pipes_max=8, sessions_max=STALLED + 10, receive_bytes=65_536
    )
    before = resident_bytes()
    stalled = [scene.session(bench, endpoint, send_bytes=65_536) for _ in range(STALLED)]
    sent, twice = [0] * STALLED, memoryview(DATA + DATA)
    for client, _ in stalled:
        client.setblocking(False)

    def all_are_blocked() -> bool:
        moved = False
        for index, (client, _) in enumerate(stalled):
            try:
                sent[index] += client.send(twice[sent[index] % len(DATA) :][:262_144])
                moved = True
            except BlockingIOError:
                continue
        return not moved

    eventually(all_are_blocked, within_s=20, reason="all senders are blocked", every_s=0.05)
    held = bench.engine.held()
    assert 0 < held["pipes"] <= 8, "the bound for pipes"
    assert held["blocks"] + held["pipes"] == STALLED, "one for each"
    assert resident_bytes() - before < MEMORY_BYTES_MAX
    bench.call(bench.publish, snapshot_of(addresses, generation=2, eligible=[1]))
    client = scene.client(bench.address)
    for number in range(50):
        client.sendall(b"%04d" % number)
        assert read_exactly(client, 4) == b"%04d" % number
    for index, (client, server) in enumerate(stalled[:5]):
        client.setblocking(True)
        client.shutdown(socket.SHUT_WR)
        data, _ = read_to_end(server)
        assert (len(data), data[:100_000]) == (sent[index], DATA[:100_000])


def test_pipe_with_bytes_left_is_not_given_to_the_next_session(scene: Scene) -> None:
    """There is one pipe. Its session is cut while it is full; the next one's bytes arrive, and only those."""
    endpoint = scene.endpoint(receive_bytes=SMALL_BUFFER)
    bench = scene.relay(endpoint, pipes_max=1)
    for number in range(3):
        client, server = scene.session(bench, endpoint)
        send_until_it_blocks(client, bytes([number]) * ENDLESS_BYTES)
        assert bench.engine.held()["pipes"] == 1
        assert bench.call(bench.engine.close_some, 0, -1, "operator", 0) == -1
        assert bench.engine.held()["pipes"] == 0
        client, server = scene.session(bench, endpoint)
        sending = InThread(client.sendall, DATA)
        assert read_exactly(server, len(DATA)) == DATA
        sending.result(20)
        client.close()
        server.close()
