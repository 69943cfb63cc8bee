"""A scene: benches, endpoints and sockets of one test; at its end the engine holds nothing any more."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

import pytest

from lb.model.snapshot import Snapshot
from tests.support.engine_bench import EngineBench, snapshot_of
from tests.support.scripted_endpoint import RESET, TIMEOUT_S, ScriptedEndpoint, read_to_end, size_buffers
from tests.support.waiting import eventually

Entered = TypeVar("Entered")
EMPTY_WITHIN_S = 8.0  # the longest linger that a test sets, and some


class Scene:
    """`sockets` are closed first; then each engine must come to hold nothing."""

    def __init__(self) -> None:
        self.sockets = ExitStack()
        self.benches: list[EngineBench] = []

    def enter(self, what: AbstractContextManager[Entered]) -> Entered:
        return self.sockets.enter_context(what)

    def endpoint(self, host: str = "127.0.0.1", **options: int) -> ScriptedEndpoint:
        made = ScriptedEndpoint(host, **options)
        self.sockets.callback(made.close)
        return made

    def bench(self, snapshot: Snapshot | None, *, started: bool = True, **options: Any) -> EngineBench:
        made = EngineBench(snapshot, **options)
        self.benches.append(made)
        return made.start() if started else made

    def relay(self, *endpoints: ScriptedEndpoint, **options: Any) -> EngineBench:
        """A bench before these endpoints; the options are the snapshot's or the bench's."""
        of_bench = {
            "sessions_max_all",
            "pipes_max",
            "log",
            "board",
            "worker",
            "host",
            "started",
            "slots",
            "receive_bytes",
        }
        bench_options = {key: options.pop(key) for key in of_bench & options.keys()}
        if "slots" in bench_options:
            bench_options["sessions_max"] = bench_options.pop("slots")
        return self.bench(snapshot_of([one.address for one in endpoints], **options), **bench_options)

    def client(
        self, address: tuple[str, int], *, receive_bytes: int = 0, send_bytes: int = 0
    ) -> socket.socket:
        made = self.enter(socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET))
        size_buffers(made, receive_bytes, send_bytes)
        made.settimeout(TIMEOUT_S)
        made.connect(address)
        return made

    def session(
        self, bench: EngineBench, endpoint: ScriptedEndpoint, **options: int
    ) -> tuple[socket.socket, socket.socket]:
        """A client, and the endpoint's end of its session."""
        client = self.client(bench.address, **options)
        return client, self.enter(endpoint.accept())

    def is_reset(self, address: tuple[str, int]) -> bool:
        """A client's fate that is not served: it may learn of it within connect() already."""
        try:
            return read_to_end(self.client(address)) == (b"", RESET)
        except ConnectionResetError:
            return True

    def records(self, bench: EngineBench, count: int) -> list[dict[str, Any]]:
        """The next `count` lines of the access log."""
        found: list[dict[str, Any]] = []

        def enough() -> bool:
            found.extend(json.loads(line) for line in bench.lines())
            return len(found) >= count

        eventually(enough, within_s=EMPTY_WITHIN_S, reason=f"{count} records", every_s=0.005)
        assert len(found) == count, f"{len(found)} records, where {count} were to come: {found}"
        return found

    def record(self, bench: EngineBench) -> dict[str, Any]:
        return self.records(bench, 1)[0]

    def empty(self, bench: EngineBench) -> None:
        """Waits until the engine holds nothing."""
        eventually(
            bench.is_empty,
            within_s=EMPTY_WITHIN_S,
            reason="the engine gives back all that it took",
            every_s=0.005,
        )

    def close(self) -> None:
        with ExitStack() as last:
            for bench in self.benches:
                last.callback(bench.close)
            self.sockets.close()
            for bench in self.benches:
                if bench.is_started:
                    self.empty(bench)
                else:
                    bench.turn_until(bench.is_empty)
            for bench in self.benches:
                assert bench.engine.sessions_open == 0, "sessions are still counted"
                assert not any(bench.engine.held().values()), f"still held: {bench.engine.held()}"
                assert bench.board.sessions_open_by_endpoint() == {}, "endpoints' gauges drifted"
                assert bench.board.sessions_open_by_listener() == {}, "listeners' gauges drifted"


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    try:
        yield made
    finally:
        made.close()
