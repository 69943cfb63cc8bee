"""`lb drain`, `lb ready`, `lb maint`, `lb weight`: an operator's order for one endpoint.

With `--wait` the command returns when the order has taken effect, or exits 1 at its deadline and says what is
missing. The order stands either way.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import Annotated
from urllib.parse import quote

import typer

from lb.cli.client import Client, Json
from lb.cli.failure import Failure
from lb.cli.locate import ConfigOption, SocketOption, admin_socket
from lb.model.endpoint import WEIGHT_MAX, EndpointKey

POLL_S = 0.2

KeyArgument = Annotated[str, typer.Argument(metavar="POOL/ENDPOINT", show_default=False)]
WaitOption = Annotated[bool, typer.Option("--wait", "-w", help="Return only when it has taken effect.")]
TimeoutOption = Annotated[str, typer.Option(metavar="DURATION", help="How long --wait waits at most.")]


def drain(
    key: KeyArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = "60s",
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Send an endpoint no new sessions; those it has are closed after the `drain` time of its pool."""
    order("drain", key, sessions_left, timeout if wait else None, admin_socket(socket, config))


def maint(
    key: KeyArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = "60s",
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Like drain, and stop probing the endpoint: someone works on it."""
    order("maint", key, sessions_left, timeout if wait else None, admin_socket(socket, config))


def ready(
    key: KeyArgument,
    wait: WaitOption = False,
    timeout: TimeoutOption = "60s",
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Take drain or maint back: the endpoint gets sessions when its check passes."""
    order("ready", key, not_eligible, timeout if wait else None, admin_socket(socket, config))


def weight(
    key: KeyArgument,
    number: Annotated[int, typer.Argument(metavar="N", min=0, max=WEIGHT_MAX, show_default=False)],
    socket: SocketOption = None,
    config: ConfigOption = None,
) -> None:
    """Give an endpoint another share of the new sessions; 0: none."""
    named = endpoint_key(key)
    Client(admin_socket(socket, config)).order(route(named, "weight"), {"weight": number})
    print(f"{named}: weight {number}")


def order(
    verb: str, key: str, missing: Callable[[Json], str], timeout: str | None, admin_socket: str
) -> None:
    """Gives the order and, with a timeout, waits until nothing is `missing` any more."""
    named = endpoint_key(key)
    timeout_s = None if timeout is None else seconds(timeout)
    client = Client(admin_socket)
    client.order(route(named, verb))
    if timeout_s is not None:
        wait_until(client, named, missing, timeout_s)
    print(f"{named}: {verb.upper()}" + ("" if timeout_s is None else ", in effect"))


def wait_until(client: Client, key: EndpointKey, missing: Callable[[Json], str], timeout_s: float) -> None:
    deadline_s = time.monotonic() + timeout_s
    while why := missing(endpoint_of(client, key)):
        if time.monotonic() >= deadline_s:
            raise Failure(f"{key}: {why} after {timeout_s:g} s; the order stands")
        Event().wait(POLL_S)


def sessions_left(endpoint: Json) -> str:
    """That none is open proves nothing alone: a worker may not know of the order yet."""
    if endpoint["drained"]:
        return ""
    count = endpoint["sessions_open"]
    return (
        f"{count} {'session' if count == 1 else 'sessions'} left"
        if count
        else "not known to every worker yet"
    )


def not_eligible(endpoint: Json) -> str:
    if endpoint["eligible"]:
        return ""
    return "not eligible, health {health}, admin {admin}, weight {weight}".format(**endpoint)


def endpoint_of(client: Client, key: EndpointKey) -> Json:
    pool = client.get(f"/api/v1/pools/{quote(key.pool, safe='')}")
    for endpoint in pool["endpoints"]:
        if endpoint["name"] == key.endpoint:
            return dict(endpoint)
    raise Failure(f"{key} has left the configuration")


def route(key: EndpointKey, verb: str) -> str:
    pool, endpoint = (quote(name, safe="") for name in key)
    return f"/api/v1/pools/{pool}/endpoints/{endpoint}/{verb}"


def endpoint_key(text: str) -> EndpointKey:
    pool, _, endpoint = text.partition("/")
    if not (pool and endpoint):
        raise typer.BadParameter(f"write POOL/ENDPOINT, for example web/10.0.0.1:80; not {text!r}")
    return EndpointKey(pool, endpoint)


def seconds(text: str) -> float:
    from lb.config.problem import BadValue
    from lb.config.units import duration_s

    try:
        return duration_s(text)
    except BadValue as error:
        raise typer.BadParameter(f"{error}; {error.suggestion}") from None
