"""`lb events`: what changed, one line each; with `--follow`, as it happens."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated

import typer

from lb.cli.client import Client, Json
from lb.cli.locate import ConfigOption, SocketOption, admin_socket

FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C.")]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object on each line.")]


def events(
    follow: FollowOption = False,
    socket: SocketOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the latest events, the newest last."""
    client = Client(admin_socket(socket, config))
    route = f"/api/v1/events?follow={str(follow).lower()}"
    for event in client.events(route, follow=follow):
        print(json.dumps(event) if as_json else line(event), flush=True)


def line(event: Json) -> str:
    """`12:03:41  web/b  health UP -> DOWN  PROBE: connect: refused`; of other events, every fact."""
    facts = {key: value for key, value in event.items() if key not in ("time", "event", "level")}
    if event["event"] == "endpoint_changed":
        words = [
            f"{facts['pool']}/{facts['endpoint']}",
            f"{facts['axis']} {word(facts['from'])} -> {word(facts['to'])}",
            ": ".join(filter(None, (facts["cause"], facts["evidence"]))),
        ]
    else:
        words = [event["event"], " ".join(f"{key}={word(value)}" for key, value in facts.items())]
    return "  ".join([clock(event["time"]), *filter(None, words)])


def word(value: object) -> str:
    """As people write it, not as Python does."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "-" if value is None else str(value)


def clock(unix_s: float | None = None) -> str:
    """The time of day where the reader is; now, if no time is given."""
    moment = datetime.now() if unix_s is None else datetime.fromtimestamp(unix_s)
    return moment.strftime("%H:%M:%S")
