"""When the kernel acknowledges: what is put off to spare a packet must not hold up an endpoint."""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING

from tests.support.scripted_endpoint import read_exactly

if TYPE_CHECKING:
    from conftest import Scene

DELAYED_S = 0.04  # the kernel's least delay of an acknowledgement (TCP_DELACK_MIN)
TRIES = 5


def test_answer_in_two_small_writes_with_nagle_is_not_held_up(scene: Scene) -> None:
    """The second write of an endpoint without TCP_NODELAY waits until the first was acknowledged. lb lets the
    client's first bytes carry the last acknowledgement of the handshake, and must leave that mode then."""
    endpoint = scene.endpoint()
    bench = scene.relay(endpoint, started=False)
    spans_s = []
    for number in range(TRIES):
        client = scene.enter(socket.create_connection(bench.address))
        client.sendall(b"question")  # lies there when the session is accepted, for no step was made yet
        bench.turn_until(lambda: bench.board.endpoint(0).bytes_in == 8 * (number + 1))  # noqa: B023
        server = endpoint.accept()
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        assert read_exactly(server, 8) == b"question"
        start_s = time.monotonic()
        server.sendall(b"head")
        bench.turn_until(lambda: bench.board.endpoint(0).bytes_out % 8 == 4)
        server.sendall(b"body")
        bench.turn_until(lambda: bench.board.endpoint(0).bytes_out % 8 == 0)
        spans_s.append(time.monotonic() - start_s)
        assert read_exactly(client, 8) == b"headbody"
        client.close()
        server.close()
        bench.turn_until(bench.is_empty)
    print(f"two writes took {sorted(round(1000 * span_s, 1) for span_s in spans_s)} ms")
    assert min(spans_s) < DELAYED_S / 2
