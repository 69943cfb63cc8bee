"""IPv6 on either side, and mixed with IPv4."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.scripted_endpoint import FIN, read_exactly, read_to_end

if TYPE_CHECKING:
    from conftest import Scene

V4, V6 = "127.0.0.1", "::1"


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind((V6, 0))
    except OSError:
        return False
    return True


pytestmark = pytest.mark.skipif(not has_ipv6(), reason="no IPv6 on this machine's loopback")


@pytest.mark.parametrize("listener", [V4, V6])
@pytest.mark.parametrize("upstream", [V4, V6])
def test_session_between_families_is_relayed_and_recorded(scene: Scene, listener: str, upstream: str) -> None:
    endpoint = scene.endpoint(upstream)
    bench = scene.relay(endpoint, host=listener)
    client, server = scene.session(bench, endpoint)
    client.sendall(b"hello")
    assert read_exactly(server, 5) == b"hello"
    name = client.getsockname()[:2]
    server.close()
    assert read_to_end(client) == (b"", FIN)
    client.close()
    record = scene.record(bench)
    written = {V4: "{}:{}", V6: "[{}]:{}"}
    assert record["client"] == written[listener].format(*name)
    assert record["local"] == written[listener].format(*bench.address)
    assert record["attempts"][0]["address"] == written[upstream].format(*endpoint.address)
    assert record["upstream"].startswith(written[upstream].format(upstream, ""))


def test_refused_ipv6_endpoint_gives_way_to_an_ipv4_one(scene: Scene) -> None:
    dead, alive = scene.endpoint(V6), scene.endpoint(V4)
    bench = scene.relay(dead, alive)
    dead.close()
    for _ in range(2):
        scene.client(bench.address)
        scene.enter(alive.accept())
    assert bench.board.endpoint(0).connect_failures["refused"] == 1
