"""`lb status`: what runs, where clients come in, and how every endpoint is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from lb.cli.client import Client, Json
from lb.cli.locate import ConfigOption, JsonOption, SocketOption, admin_socket
from lb.cli.render import Sheet, duration, show, size, warn


def status(socket: SocketOption = None, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show listeners, pools, endpoints and workers."""
    answer = Client(admin_socket(socket, config)).get("/api/v1/status")
    if as_json:
        print(json.dumps(answer, indent=2))
        return
    now_s = time.time()
    print("\n".join(heading(answer, now_s)))
    show([listeners(answer), endpoints(answer, now_s), *queues(answer), workers(answer)])
    for line in troubles(answer, now_s):
        warn(line)


def heading(answer: Json, now_s: float) -> Iterator[str]:
    config = answer["config"]
    yield (
        f"lb {answer['version']}, pid {answer['pid']}, {answer['state']} "
        f"for {duration(now_s - answer['started_at'])}, generation {answer['generation']}"
    )
    yield f"{config['path']}, loaded {duration(now_s - config['loaded_at'])} ago"


def troubles(answer: Json, now_s: float) -> Iterator[str]:
    """What the reader should act on, after the tables, where a screen ends."""
    last = answer["config"]["last_reload"]
    if not last["success"]:
        ago = duration(now_s - last["at"])
        yield f"the last reload was refused {ago} ago; the configuration before it stays:"
        yield from (f"  {error}" for error in last["errors"])
    for pool in answer["pools"]:
        if pool["panics"]:
            yield f"pool {pool['name']} panics: too few endpoints are well, so all that are ready serve"
    yield from (f"warning: {warning}" for warning in answer["warnings"])


def listeners(answer: Json) -> Sheet:
    return Sheet(
        ("LISTENER", "ADDRESS", "POOL", "ACCEPTING", "SESSIONS>", "TOTAL>"),
        [
            (
                listener["name"],
                ", ".join(listener["binds"]),
                listener["pool"],
                "yes" if listener["accepting"] else "no",
                str(listener["sessions_open"]),
                str(listener["sessions_total"]),
            )
            for listener in answer["listeners"]
        ],
    )


def endpoints(answer: Json, now_s: float) -> Sheet:
    return Sheet(
        ("POOL", "ENDPOINT", "ADDRESS", "STATE", "WEIGHT>", "SESSIONS>", "TOTAL>", "IN>", "OUT>", "FAILED>"),
        [
            (
                pool["name"],
                endpoint["name"],
                endpoint["address"],
                state(endpoint, now_s),
                weight(endpoint),
                str(endpoint["sessions_open"]),
                str(endpoint["sessions_total"]),
                size(endpoint["bytes_in"]),
                size(endpoint["bytes_out"]),
                str(endpoint["connect_failures_total"]),
            )
            for pool in answer["pools"]
            for endpoint in pool["endpoints"]
        ],
    )


def state(endpoint: Json, now_s: float) -> str:
    """What was ordered stands before what was observed: in MAINT it takes nobody, however well it is."""
    health, admin, checks = endpoint["health"], endpoint["admin"], endpoint["checks"]
    since = duration(now_s - endpoint["since"])
    if endpoint["removed"]:
        return f"REMOVED {since}"
    if admin == "MAINT":  # it is not probed: what was last known of it says nothing
        return f"MAINT {since}"
    if admin != "READY":
        return f"{admin} {since}" + (f", health {health}" if health != "UP" else "")
    if endpoint["agent"] != "READY":
        return f"{endpoint['agent']} by its agent {since}" + (f", health {health}" if health != "UP" else "")
    if endpoint["ejected"]:
        return f"EJECTED {since}, {duration(endpoint['returns_in_s'])} more"
    if health == "UP" and endpoint["weight_effective"] and not endpoint["eligible"]:
        return f"UP {since}, stands by (priority {endpoint['priority']})"
    if endpoint["ramp_percent"] < 100:
        since += f", at {endpoint['ramp_percent']} % of its share"
    if not checks:
        return f"{health} {since}, not checked"
    which, last = telling(health, checks)
    if last is None or (last["ok"] and health == "UP"):
        return f"{health} {since}"
    said = f'"{which}{last["detail"]}"' + held(checks)
    if health == "DOWN" and not last["ok"]:
        return f"DOWN {since} {said}"
    return f"{health} {since}, last probe: {said}"  # on its way to another verdict


def held(checks: list[Json]) -> str:
    """An endpoint that flaps is kept away for a while, however well it is."""
    seconds = max(check["held_down_for_s"] for check in checks)
    return f", held for {duration(seconds)} more" if seconds else ""


def telling(health: str, checks: list[Json]) -> tuple[str, Json | None]:
    """The last probe that says most, and of several checks whose it is: one that failed, before one that
    passed; one whose check is of the endpoint's health, before others."""
    ran = [check for check in checks if check["last"]]
    if not ran:
        return "", None
    check = min(ran, key=lambda check: (check["last"]["ok"], check["health"] != health))
    return (f"{check['type']}: " if len(checks) > 1 else ""), check["last"]


def weight(endpoint: Json) -> str:
    """The operator's number, and the computed one where it differs."""
    ordered, effective = endpoint["weight"], endpoint["weight_effective"]
    return str(ordered) if ordered == effective else f"{effective} of {ordered}"


def queues(answer: Json) -> Iterator[Sheet]:
    """Only where somebody waits."""
    waiting = [(pool["name"], str(pool["queued"])) for pool in answer["pools"] if pool["queued"]]
    if waiting:
        yield Sheet(("POOL", "QUEUED>"), waiting)


def workers(answer: Json) -> Sheet:
    return Sheet(
        ("WORKER", "PID>", "STATE", "SESSIONS>", "RESTARTS>"),
        [
            (
                str(worker["worker"]),
                str(worker["pid"] or "-"),
                worker["state"],
                str(worker["sessions_open"]),
                str(worker["restarts"]),
            )
            for worker in answer["workers"]
        ],
    )
