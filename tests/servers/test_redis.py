"""Redis: a primary, its replica, a password, a busy server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lb.model.check import ProbeResult, RedisPing, Role
from tests.support.probing import judged_when_hung, probed
from tests.support.servers import Server, redis, run
from tests.support.waiting import eventually


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with redis(tmp_path) as made:
        yield made


def test_primary_says_that_it_is_one(server: Server) -> None:
    result = probed(RedisPing(), server.address)
    assert (result.ok, result.detail, result.role) == (True, "PONG, primary", Role.PRIMARY)


def test_replica_says_how_far_behind_it_is(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "replica"
    folder.mkdir()
    with redis(folder, "--replicaof", "127.0.0.1", str(server.address.port)) as replica:
        result = eventually(
            lambda: (found := probed(RedisPing(), replica.address)).lag_s is not None and found,
            within_s=20.0,
            reason="the replica has its primary",
        )
        assert (result.ok, result.detail, result.role) == (True, "PONG, replica", Role.REPLICA)


def test_password_is_wanted_and_given(tmp_path: Path) -> None:
    with redis(tmp_path, "--requirepass", "secret") as server:
        assert probed(RedisPing(password="secret"), server.address).ok
        assert probed(RedisPing(), server.address).detail == "answered -NOAUTH Authentication required."
        result = probed(RedisPing(password="wrong"), server.address)
        assert result.detail == "answered -WRONGPASS to AUTH"


def test_server_that_loads_or_is_busy_fails(server: Server) -> None:
    """A script that runs on and on: it answers BUSY after its time limit."""
    port = str(server.address.port)
    run(["redis-cli", "-p", port, "config", "set", "busy-reply-threshold", "50"])
    forever = ["redis-cli", "-p", port, "eval", "while true do end", "0"]
    busy = threading.Thread(target=lambda: run(forever))
    busy.start()
    try:
        result = eventually(
            lambda: not (found := probed(RedisPing(), server.address)).ok and found,
            within_s=10.0,
            reason="it is busy",
        )
        assert result.detail.startswith("answered -BUSY Redis is busy running a script"), result.detail
    finally:
        run(["redis-cli", "-p", port, "script", "kill"])
        busy.join(10.0)
    assert probed(RedisPing(), server.address).ok


def test_server_that_hangs_or_is_gone_fails(server: Server) -> None:
    result = judged_when_hung(RedisPing(), server.process, server.address)
    assert result == ProbeResult(False, "timeout after 0.5 s (connected, no answer)")
    server.process.end()
    assert probed(RedisPing(), server.address) == ProbeResult(False, "connect: refused")
