"""The admin server: lb's state to read, and the few things that may be changed.

Reads are GET, changes are POST. Every error is JSON that says what is wrong and what to do instead. It
decides nothing itself: what it knows and does comes from its source.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

from aiohttp import web

from lb.core.orders import OrderRefused, UnknownEndpoint
from lb.model.address import Address
from lb.model.endpoint import WEIGHT_MAX, EndpointKey
from lb.model.endpoint import Admin as AdminState
from lb.shell import guard
from lb.shell.admin_sockets import identity, is_unix, listen_tcp, listen_unix, who
from lb.shell.events import past, send_events
from lb.shell.observed import Json
from lb.shell.openapi import EVENTS, METRICS, ROUTES, YAML, describe
from lb.shell.refused import BODY_BYTES_MAX, Refused, http_error, instead

READERS_MAX = 64  # of events, at the same time
SHUTDOWN_S = 1.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class AdminSource(Protocol):
    """What the server asks. Everything but `reload` answers at once."""

    def status(self) -> Json:
        """As lb/shell/status.py makes it."""

    def metrics(self) -> bytes:
        """Prometheus text."""

    def ready(self) -> tuple[bool, str]:
        """Whether every listener accepts, and the reason, for people."""

    def config_text(self) -> str:
        """The file that is in force."""

    def past(self) -> list[Json]:
        """The latest events, the newest last."""

    def subscribe(self) -> AsyncIterator[Json]:
        """The latest events, then each as it comes; what a slow reader lost is an event of its own."""

    async def reload(self) -> Json:
        """`{ok: true, generation, changed, warnings}` or `{ok: false, errors}`."""

    def order(self, key: EndpointKey, admin: AdminState | None, weight: int | None, who: str) -> Json:
        """Raises UnknownEndpoint or OrderRefused."""


class Admin:
    def __init__(self, source: AdminSource) -> None:
        self._source = source
        self._stopping = asyncio.Event()
        self._readers_count = 0
        self._servers: list[asyncio.Server] = []
        self._socket: tuple[Path, tuple[int, int] | None] | None = None
        self._runner = web.AppRunner(self._app(), access_log=None, shutdown_timeout=SHUTDOWN_S)
        self.address: Address | None = None  # over TCP, once started

    async def start(self, bind: Address | None, socket_path: Path | None) -> None:
        """Raises CannotListen; `stop` then closes what was opened."""
        await self._runner.setup()
        assert self._runner.server is not None, "setup() makes it"
        loop = asyncio.get_running_loop()
        if bind is not None:
            sock = listen_tcp(bind)
            self.address = Address(*sock.getsockname()[:2])
            self._servers.append(await loop.create_server(self._runner.server, sock=sock))
        if socket_path is not None:
            sock = listen_unix(socket_path)
            self._socket = socket_path, identity(socket_path)
            self._servers.append(await loop.create_unix_server(self._runner.server, sock=sock))

    async def stop(self) -> None:
        """Event streams end, answers under way are given SHUTDOWN_S, and our socket file goes."""
        for server in self._servers:
            server.close()
        if self._socket is not None:
            path, ours = self._socket
            if identity(path) == ours:
                path.unlink(missing_ok=True)
        self._stopping.set()
        await self._runner.cleanup()

    def _app(self) -> web.Application:
        app = web.Application(middlewares=[self._answer], client_max_size=BODY_BYTES_MAX)
        for route in ROUTES:
            handler = getattr(self, f"_{route.operation}")
            app.router.add_route(route.method, route.path, handler)
            if route.method == "GET" and route.answer != EVENTS:
                app.router.add_route("HEAD", route.path, handler)
        return app

    @web.middleware
    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The guard before every handler, and JSON for whatever it raises."""
        try:
            self._guard(request)
            return await handler(request)
        except Refused as refused:
            return refused.response()
        except UnknownEndpoint as error:
            return self._no_endpoint(error.key).response()
        except OrderRefused as error:
            return Refused(409, str(error)).response()
        except web.HTTPException as error:
            return http_error(request.path, error)
        except ConnectionError:
            raise  # nobody is left to answer
        except Exception:
            request.app.logger.exception("defect in %s %s", request.method, request.path)
            return Refused(500, "a defect of lb", "its log has the details; please report them").response()

    def _guard(self, request: web.Request) -> None:
        why = guard.refusal(request.method, request.path, request.headers)
        if why and not is_unix(_transport_of(request)):
            raise Refused(403, why, "call lb by its address, http://127.0.0.1:9900 say, or by its socket")

    # ---- What is asked of the whole ------------------------------------------------------------------

    async def _index(self, request: web.Request) -> web.Response:
        width = max(len(route.path) for route in ROUTES)
        lines = (f"{route.method:5}{route.path:{width}}  {route.summary}\n" for route in ROUTES)
        return web.Response(text="".join(lines))

    async def _live(self, request: web.Request) -> web.Response:
        return web.Response(text="live\n")

    async def _ready(self, request: web.Request) -> web.Response:
        is_ready, why = self._source.ready()
        return web.Response(text=f"{why}\n", status=200 if is_ready else 503)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._source.metrics(), headers={"Content-Type": METRICS})

    async def _openapi(self, request: web.Request) -> web.Response:
        return web.json_response(describe())

    async def _config(self, request: web.Request) -> web.Response:
        return web.Response(text=self._source.config_text(), content_type=YAML)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("follow", "true") == "false":
            return past(self._source.past())
        if self._readers_count >= READERS_MAX:
            raise Refused(503, f"{READERS_MAX} others read events already", "ask with ?follow=false")
        self._readers_count += 1
        try:
            return await send_events(request, self._source.subscribe(), self._stopping)
        finally:
            self._readers_count -= 1

    async def _status(self, request: web.Request) -> web.Response:
        return web.json_response(self._source.status())

    async def _listeners(self, request: web.Request) -> web.Response:
        return web.json_response({"listeners": self._source.status()["listeners"]})

    async def _workers(self, request: web.Request) -> web.Response:
        return web.json_response({"workers": self._source.status()["workers"]})

    async def _pools(self, request: web.Request) -> web.Response:
        return web.json_response({"pools": self._source.status()["pools"]})

    async def _pool(self, request: web.Request) -> web.Response:
        return web.json_response(self._pool_named(request.match_info["pool"]))

    # ---- What changes something ----------------------------------------------------------------------

    async def _reload(self, request: web.Request) -> web.Response:
        answer = await self._source.reload()
        return web.json_response(answer, status=200 if answer["ok"] else 422)

    async def _drain(self, request: web.Request) -> web.Response:
        return self._ordered(request, admin=AdminState.DRAIN)

    async def _undo(self, request: web.Request) -> web.Response:
        return self._ordered(request, admin=AdminState.READY)

    async def _maint(self, request: web.Request) -> web.Response:
        return self._ordered(request, admin=AdminState.MAINT)

    async def _weight(self, request: web.Request) -> web.Response:
        try:
            body = json.loads(await request.read())
        except (ValueError, RecursionError):
            body = None
        weight = body.get("weight") if isinstance(body, dict) else None
        if type(weight) is not int or not 0 <= weight <= WEIGHT_MAX:  # true is an int too
            raise Refused(400, "the body is not a weight", f'send {{"weight": N}}, N from 0 to {WEIGHT_MAX}')
        return self._ordered(request, weight=weight)

    def _ordered(
        self, request: web.Request, *, admin: AdminState | None = None, weight: int | None = None
    ) -> web.Response:
        key = EndpointKey(request.match_info["pool"], request.match_info["endpoint"])
        return web.json_response(self._source.order(key, admin, weight, who(_transport_of(request))))

    # ---- What is refused -----------------------------------------------------------------------------

    def _pool_named(self, name: str) -> Json:
        pools: dict[str, Json] = {pool["name"]: pool for pool in self._source.status()["pools"]}
        if name not in pools:
            raise Refused(404, f"there is no pool `{name}`", instead(name, pools))
        return pools[name]

    def _no_endpoint(self, key: EndpointKey) -> Refused:
        try:
            pool = self._pool_named(key.pool)
        except Refused as refused:
            return refused
        endpoints = [each["name"] for each in pool["endpoints"] if not each["removed"]]
        error = f"pool `{key.pool}` has no endpoint `{key.endpoint}`"
        return Refused(404, error, instead(key.endpoint, endpoints))


def _transport_of(request: web.Request) -> asyncio.Transport:
    if request.transport is None:
        raise ConnectionResetError("the peer left while it was being answered")
    return request.transport
