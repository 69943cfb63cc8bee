"""`lb reload`: synchronous. It prints what changed; or every problem, and the old one stays."""

from __future__ import annotations

import json

import typer

from lb.cli.client import Client, Json, refusal
from lb.cli.failure import THE_ANSWER_IS_NO, Failure
from lb.cli.locate import ConfigOption, JsonOption, SocketOption, admin_socket

# Reading, binding and every worker's acknowledgement (2 s, and once more for one that was replaced) fit in.
TIMEOUT_S = 30.0


def reload(socket: SocketOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Load the configuration file again, and say what came of it."""
    answer = Client(admin_socket(socket, config)).post("/api/v1/reload", timeout_s=TIMEOUT_S)
    if as_json:
        print(json.dumps(answer.body, indent=2))
        raise typer.Exit(0 if answer.ok else THE_ANSWER_IS_NO)
    if not answer.ok:
        raise Failure(refused(answer.body))
    print(accepted(answer.body))


def accepted(body: Json) -> str:
    changed = body["changed"] or ["nothing to change: what the file says is in effect"]
    warnings = [f"warning: {warning}" for warning in body["warnings"]]
    return "\n".join([*changed, *warnings, f"generation {body['generation']}"])


def refused(body: Json) -> str:
    errors = body.get("errors")
    if errors is None:  # not the file's fault: an order that may not be given, or a reload in a drain
        return refusal(body)
    return "\n".join(["refused, the old configuration stays:", *map(problem, errors)])


def problem(error: Json) -> str:
    """`lb.yaml:7:5: pools.web.polcy: unknown key; did you mean `policy`?`, with what is known of it."""
    place = ":".join(str(error[key]) for key in ("file", "line", "column") if error.get(key))
    text = ": ".join(filter(None, (place, error.get("path"), error["message"])))
    return f"{text}; {error['suggestion']}" if error.get("suggestion") else text
