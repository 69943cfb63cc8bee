"""The admin server, asked over TCP and over its socket."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiohttp import ClientSession, ClientTimeout, UnixConnector
from prometheus_client.parser import text_string_to_metric_families

from lb.core.orders import OrderRefused, UnknownEndpoint
from lb.model.address import Address
from lb.model.endpoint import Admin as State
from lb.model.endpoint import EndpointKey
from lb.shell import admin as module
from lb.shell import events
from lb.shell.admin import Admin
from lb.shell.metrics import Exposition
from lb.shell.openapi import ROUTES
from lb.shell.status import status
from tests.support.observed import observed

Json = dict[str, Any]
PATIENCE = ClientTimeout(total=10.0)


class FakeSource:
    def __init__(self) -> None:
        self.readiness = (True, "ready")
        self.reloaded: Json = {"ok": True, "generation": 18, "changed": [], "warnings": []}
        self.orders: list[tuple[EndpointKey, State | None, int | None, str]] = []
        self.queue: asyncio.Queue[Json] = asyncio.Queue()
        self.left = asyncio.Event()  # some reader did

    def status(self) -> Json:
        return status(observed())

    def metrics(self) -> bytes:
        return Exposition().render(observed())

    def ready(self) -> tuple[bool, str]:
        return self.readiness

    def config_text(self) -> str:
        return "listeners: {}\n"

    def past(self) -> list[Json]:
        return [{"time": 1.0, "event": "config_loaded"}, {"time": 2.0, "event": "endpoint_changed"}]

    async def subscribe(self) -> AsyncIterator[Json]:
        try:
            for event in self.past():
                yield event
            while True:
                yield await self.queue.get()
        finally:
            self.left.set()

    async def reload(self) -> Json:
        return self.reloaded

    def order(self, key: EndpointKey, admin: State | None, weight: int | None, who: str) -> Json:
        if key == EndpointKey("web", "c"):
            raise OrderRefused("c takes no orders")
        if key not in [view.key for view in observed().endpoints if not view.removed]:
            raise UnknownEndpoint(key)
        self.orders.append((key, admin, weight, who))
        return {"ok": True}


class Site:
    """A server and a client of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "admin.sock"
        self.source = FakeSource()
        self.admin = Admin(self.source)

    async def __aenter__(self) -> Site:
        await self.admin.start(Address("127.0.0.1", 0), self.path)
        self.base = f"http://{self.admin.address}"
        self.tcp = ClientSession(self.base, timeout=PATIENCE)
        self.unix = ClientSession("http://lb", connector=UnixConnector(str(self.path)), timeout=PATIENCE)
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.tcp.close()
        await self.unix.close()
        await self.admin.stop()

    async def get(self, path: str, **options: Any) -> tuple[int, Any]:
        return await self.ask("GET", path, **options)

    async def post(self, path: str, **options: Any) -> tuple[int, Any]:
        return await self.ask("POST", path, **options)

    async def ask(self, method: str, path: str, **options: Any) -> tuple[int, Any]:
        """Status, and the JSON or text of the answer."""
        async with self.tcp.request(method, path, **options) as answer:
            text = await answer.text()
            return answer.status, json.loads(text) if answer.content_type == "application/json" else text


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Callable[[Site], Awaitable[None]]], None]:
    def runner(scenario: Callable[[Site], Awaitable[None]]) -> None:
        async def main() -> None:
            async with Site(tmp_path) as site:
                await scenario(site)

        uvloop.run(main())

    return runner


Run = Callable[[Callable[[Site], Awaitable[None]]], None]

NO_WEIGHTS = [
    "",
    "{",
    "3",
    "[]",
    '{"weight": true}',
    '{"weight": 1.5}',
    '{"weight": 257}',
    '{"weight": -1}',
    '{"weight": "2"}',
    "\udcff",
    "[" * 4000,
]

# ---- Reads ------------------------------------------------------------------------------------------


def test_index_lists_every_route(run: Run) -> None:
    async def scenario(site: Site) -> None:
        _, text = await site.get("/")
        assert [tuple(line.split()[:2]) for line in text.splitlines()] == [(r.method, r.path) for r in ROUTES]

    run(scenario)


def test_live_answers(run: Run) -> None:
    async def scenario(site: Site) -> None:
        assert await site.get("/live") == (200, "live\n")
        assert (await site.ask("HEAD", "/live"))[0] == 200

    run(scenario)


def test_ready_says_why_not(run: Run) -> None:
    async def scenario(site: Site) -> None:
        assert await site.get("/ready") == (200, "ready\n")
        site.source.readiness = (False, "draining: 3 sessions are open")
        assert await site.get("/ready") == (503, "draining: 3 sessions are open\n")

    run(scenario)


def test_metrics_are_prometheus_text(run: Run) -> None:
    async def scenario(site: Site) -> None:
        async with site.tcp.get("/metrics") as answer:
            assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            text = await answer.text()
        assert "lb_build_info" in {family.name for family in text_string_to_metric_families(text)}

    run(scenario)


def test_status_and_its_parts_are_json_objects(run: Run) -> None:
    async def scenario(site: Site) -> None:
        whole = status(observed())
        assert await site.get("/api/v1/status") == (200, whole)
        for part in ("listeners", "pools", "workers"):
            assert await site.get(f"/api/v1/{part}") == (200, {part: whole[part]})
        assert await site.get("/api/v1/pools/web") == (200, whole["pools"][0])

    run(scenario)


def test_config_is_the_text_in_force(run: Run) -> None:
    async def scenario(site: Site) -> None:
        assert await site.get("/api/v1/config") == (200, "listeners: {}\n")

    run(scenario)


def test_openapi_is_served(run: Run) -> None:
    async def scenario(site: Site) -> None:
        _, described = await site.get("/api/v1/openapi.json")
        assert "/api/v1/reload" in described["paths"]

    run(scenario)


# ---- Changes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "admin"), [("drain", State.DRAIN), ("ready", State.READY), ("maint", State.MAINT)]
)
def test_order_goes_to_the_endpoint_with_who_gave_it(run: Run, verb: str, admin: State) -> None:
    async def scenario(site: Site) -> None:
        assert await site.post(f"/api/v1/pools/web/endpoints/a/{verb}") == (200, {"ok": True})
        ((key, ordered, weight, who),) = site.source.orders
        assert (key, ordered, weight) == (EndpointKey("web", "a"), admin, None)
        assert who.startswith("127.0.0.1:")

    run(scenario)


def test_order_over_the_socket_names_the_user(run: Run) -> None:
    async def scenario(site: Site) -> None:
        async with site.unix.post("/api/v1/pools/web/endpoints/a/drain", json={}) as answer:
            assert answer.status == 200
        assert site.source.orders[0][3].startswith(f"unix uid {os.getuid()}")

    run(scenario)


def test_order_finds_an_endpoint_whose_name_is_an_address(run: Run) -> None:
    async def scenario(site: Site) -> None:
        _, answer = await site.post("/api/v1/pools/we%2Fb/endpoints/%5B%3A%3A1%5D%3A80/drain")
        assert answer["error"] == "there is no pool `we/b`"
        _, answer = await site.post("/api/v1/pools/web/endpoints/%5B%3A%3A1%5D%3A80/drain")
        assert answer["error"] == "pool `web` has no endpoint `[::1]:80`"

    run(scenario)


def test_weight_is_ordered(run: Run) -> None:
    async def scenario(site: Site) -> None:
        assert (await site.post("/api/v1/pools/web/endpoints/a/weight", json={"weight": 0}))[0] == 200
        assert site.source.orders[0][:3] == (EndpointKey("web", "a"), None, 0)

    run(scenario)


@pytest.mark.parametrize("body", NO_WEIGHTS)
def test_weight_that_is_none_is_refused_with_what_to_send(run: Run, body: str) -> None:
    async def scenario(site: Site) -> None:
        data = body.encode("utf-8", "surrogateescape")
        assert await site.post("/api/v1/pools/web/endpoints/a/weight", data=data) == (
            400,
            {"error": "the body is not a weight", "suggestion": 'send {"weight": N}, N from 0 to 256'},
        )
        assert site.source.orders == []

    run(scenario)


def test_body_that_is_too_long_is_refused(run: Run) -> None:
    async def scenario(site: Site) -> None:
        code, answer = await site.post("/api/v1/pools/web/endpoints/a/weight", data=b"x" * 5000)
        assert (code, answer["suggestion"]) == (413, "send at most 4096 bytes")

    run(scenario)


def test_reload_answers_with_what_came_of_it(run: Run) -> None:
    async def scenario(site: Site) -> None:
        assert await site.post("/api/v1/reload") == (200, site.source.reloaded)
        site.source.reloaded = {"ok": False, "errors": [{"message": "no"}]}
        assert await site.post("/api/v1/reload") == (422, site.source.reloaded)

    run(scenario)


# ---- Errors -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "code", "error", "suggestion"),
    [
        ("GET", "/api/v1/pools/wed", 404, "there is no pool `wed`", "did you mean `web`?"),
        ("GET", "/api/v1/pools/zzz", 404, "there is no pool `zzz`", "there are: web, plain"),
        ("POST", "/api/v1/pools/wed/endpoints/a/drain", 404, "there is no pool `wed`", "did you mean `web`?"),
        (
            "POST",
            "/api/v1/pools/web/endpoints/gone/drain",
            404,
            "pool `web` has no endpoint `gone`",
            "there are: a, b, c, new",
        ),
        ("POST", "/api/v1/pools/web/endpoints/c/drain", 409, "c takes no orders", None),
        ("GET", "/api/v1/statsu", 404, "not found", "did you mean `/api/v1/status`?"),
        ("GET", "/favicon.ico", 404, "not found", "GET / lists the routes"),
        ("GET", "/api/v1/reload", 405, "method not allowed", "use POST"),
        ("POST", "/api/v1/status", 405, "method not allowed", "use GET"),
    ],
)
def test_error_says_what_is_wrong_and_what_to_do(
    run: Run, method: str, path: str, code: int, error: str, suggestion: str | None
) -> None:
    async def scenario(site: Site) -> None:
        assert await site.ask(method, path) == (code, {"error": error, "suggestion": suggestion})

    run(scenario)


def test_defect_is_answered_and_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(site: Site) -> None:
        site.source.reloaded = {}
        code, answer = await site.post("/api/v1/reload")
        assert (code, answer["error"]) == (500, "a defect of lb")

    run(scenario)
    assert "defect in POST /api/v1/reload" in caplog.text
    assert "KeyError" in caplog.text


def test_page_of_another_site_is_refused(run: Run) -> None:
    async def scenario(site: Site) -> None:
        code, answer = await site.get("/api/v1/status", headers={"Host": "evil.example"})
        assert code == 403
        assert "evil.example" in answer["error"]
        code, _ = await site.post("/api/v1/reload", headers={"Origin": "http://evil.example"})
        assert code == 403
        assert (await site.get("/metrics", headers={"Host": "lb.example"}))[0] == 200

    run(scenario)


def test_socket_is_not_guarded_against_browsers(run: Run) -> None:
    async def scenario(site: Site) -> None:
        async with site.unix.get("/api/v1/status") as answer:
            assert answer.status == 200

    run(scenario)


# ---- Events -----------------------------------------------------------------------------------------


async def next_event(answer: Any) -> Json:
    while True:
        line = await answer.content.readline()
        assert line, "the stream ended"
        if line.startswith(b"data: "):
            event: Json = json.loads(line.removeprefix(b"data: "))
            return event


def test_events_are_the_past_and_then_each_as_it_comes(run: Run) -> None:
    async def scenario(site: Site) -> None:
        async with site.tcp.get("/api/v1/events") as answer:
            assert answer.content_type == "text/event-stream"
            assert [await next_event(answer), await next_event(answer)] == site.source.past()
            site.source.queue.put_nowait({"event": "new\nline"})
            assert await next_event(answer) == {"event": "new\nline"}

    run(scenario)


def test_events_without_follow_end_after_the_past(run: Run) -> None:
    async def scenario(site: Site) -> None:
        code, text = await site.get("/api/v1/events?follow=false")
        assert code == 200
        assert [json.loads(line[6:]) for line in text.splitlines() if line] == site.source.past()

    run(scenario)


def test_events_have_a_heartbeat_that_loses_none(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)

    async def scenario(site: Site) -> None:
        async with site.tcp.get("/api/v1/events") as answer:
            beats = 0
            while beats < 3:
                beats += await answer.content.readline() == b": still here\n"
            site.source.queue.put_nowait({"event": "late"})
            assert await next_event(answer) == {"event": "late"}

    run(scenario)


def test_events_end_when_the_server_stops(run: Run) -> None:
    async def scenario(site: Site) -> None:
        async with site.tcp.get("/api/v1/events") as answer:
            await next_event(answer)
            await site.admin.stop()
            await answer.content.read()
        assert site.source.left.is_set()

    run(scenario)


def test_events_reader_that_left_is_forgotten(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.01)

    async def scenario(site: Site) -> None:
        answer = await site.tcp.get("/api/v1/events")
        await next_event(answer)
        answer.close()
        await asyncio.wait_for(site.source.left.wait(), 5.0)

    run(scenario)


def test_events_reader_that_is_stuck_is_cut_off(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "STUCK_S", 0.1)

    async def scenario(site: Site) -> None:
        async with site.tcp.get("/api/v1/events") as answer:
            await next_event(answer)
            async with asyncio.timeout(10.0):
                while not site.source.left.is_set():
                    site.source.queue.put_nowait({"event": "x" * 1_000_000})
                    await asyncio.sleep(0.01)

    run(scenario)


def test_events_have_a_limit_of_readers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READERS_MAX", 1)

    async def scenario(site: Site) -> None:
        async with site.tcp.get("/api/v1/events") as answer:
            await next_event(answer)
            assert (await site.get("/api/v1/events"))[0] == 503
            assert (await site.get("/api/v1/events?follow=false"))[0] == 200

    run(scenario)


# ---- Life -------------------------------------------------------------------------------------------


def test_stop_takes_the_socket_file_away(run: Run) -> None:
    async def scenario(site: Site) -> None:
        assert site.path.is_socket()
        await site.admin.stop()
        assert not site.path.exists()

    run(scenario)


def test_stop_leaves_the_socket_file_of_a_successor(run: Run) -> None:
    async def scenario(site: Site) -> None:
        site.path.unlink()
        site.path.write_text("a successor's")
        await site.admin.stop()
        assert site.path.exists()

    run(scenario)


def test_start_with_neither_address_nor_socket_serves_nobody() -> None:
    async def main() -> None:
        admin = Admin(FakeSource())
        await admin.start(None, None)
        assert admin.address is None
        await admin.stop()

    uvloop.run(main())
