"""`python -m bench.load endpoint | relay | client | pace`: the command line of the load programs.

`endpoint` and `relay` print {"port": N} when they accept, and serve until they are killed. `client` (closed
loop) prints its result as one line. `pace` (open loop) has its endpoint in itself: it prints that one's
{"port": N}, reads one line {"port": where to go, "pids": [..]}, and prints its result. Both read the CPU
clocks of the given processes at the very edges of the measured window, so no scheduling delay of a third
process gets into the figure.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import select
import socket
import sys
from typing import Any

from bench import build, cpu

OPEN_BATCH = 64  # sessions opened at once: far below every backlog (4096)
OPEN_TIMEOUT_S = 10.0
STALL_S = 1.0  # an operation older than this at the end of the window is an error
ANSWER_TIMEOUT_S = 2.0  # open loop: after it, what is under way at the end counts as unanswered
IN_FLIGHT_MAX = 4096  # open loop, connections
HOLD_S_MAX = 120.0
BACKLOG = 4096
PR_SET_TIMERSLACK = 29


def main() -> None:
    arguments = parse()
    build.ensure()
    arguments.run(arguments)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    commands = parser.add_subparsers(required=True)

    endpoint = commands.add_parser("endpoint", help="serve")
    endpoint.add_argument("--mode", choices=["echo", "reply", "http", "source", "sink"], default="echo")
    endpoint.add_argument("--port", type=int, default=0)
    endpoint.add_argument("--reply-bytes", type=int, default=64)
    endpoint.set_defaults(run=run_endpoint)

    relay = commands.add_parser("relay", help="the floor: a bare relay")
    relay.add_argument("--port", type=int, default=0)
    relay.add_argument("--to", type=int, required=True, help="port of the endpoint")
    relay.set_defaults(run=run_relay)

    client = commands.add_parser("client", help="make load, print one line of JSON")
    client.add_argument("--mode", choices=["connect", "messages", "bulk", "hold"], required=True)
    client.add_argument("--port", type=int, required=True)
    client.add_argument("--sessions", type=int, default=64)
    client.add_argument("--seconds", type=float, default=5.0)
    client.add_argument("--warmup", type=float, default=0.5, help="seconds before the measured window")
    client.add_argument("--operations", type=int, default=0, help="end after so many (0: no such end)")
    client.add_argument("--message-bytes", type=int, default=64)
    client.add_argument("--reply-bytes", type=int, default=64)
    client.add_argument("--discard", action="store_true", help="bulk: do not even copy what comes")
    client.add_argument("--pids", type=int, nargs="*", default=[], help="whose CPU time to read")
    client.set_defaults(run=run_client)

    pace = commands.add_parser("pace", help="make load at a fixed rate, with an endpoint of its own")
    pace.add_argument("--mode", choices=["connect", "messages"], required=True)
    pace.add_argument("--rate", type=float, required=True, help="operations per second")
    pace.add_argument("--sessions", type=int, default=IN_FLIGHT_MAX)
    pace.add_argument("--seconds", type=float, default=5.0)
    pace.add_argument("--warmup", type=float, default=0.5, help="seconds before the measured window")
    pace.add_argument("--sleep", action="store_true", help="leave the CPU to others between operations")
    pace.set_defaults(run=run_pace)
    return parser.parse_args()


def listen(port: int = 0) -> int:
    """Says {"port": N}. A listening socket's descriptor on loopback; accepted sockets inherit TCP_NODELAY."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    say({"port": listener.getsockname()[1]})
    return listener.detach()


def run_endpoint(arguments: argparse.Namespace) -> None:
    from bench.load.endpoint import Mode, serve_forever

    body = b"x" * arguments.reply_bytes
    if arguments.mode == "http":
        body = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    serve_forever(listen(arguments.port), Mode[arguments.mode.upper()], body)


def run_relay(arguments: argparse.Namespace) -> None:
    from bench.load.relay import relay_forever

    relay_forever(listen(arguments.port), arguments.to)


def run_client(arguments: argparse.Namespace) -> None:
    from bench.load.client import Client, Mode

    mode = {"hold": "messages"}.get(arguments.mode, arguments.mode)
    client = Client(
        Mode[mode.upper()],
        arguments.port,
        arguments.sessions,
        arguments.message_bytes,
        arguments.reply_bytes,
        arguments.discard,
    )
    settled = open_all(client, arguments)
    if arguments.mode == "hold":
        hold(client, settled, arguments.sessions)
        return
    client.start()
    if arguments.warmup:
        client.run(arguments.warmup)
    client.reset_counts()
    result = measure(client, arguments, settled)
    if arguments.operations and arguments.mode == "connect":
        client.finish(OPEN_TIMEOUT_S)
        result["operations"] = client.counts()["operations"]  # with those that were under way
    say(result)


def open_all(client: Any, arguments: argparse.Namespace) -> int:
    """Opens every session, a batch at a time. Returns how many did their first exchange."""
    settled = 0
    for opened in range(0, arguments.sessions, OPEN_BATCH):
        settled = client.open(min(OPEN_BATCH, arguments.sessions - opened), OPEN_TIMEOUT_S)
    return settled


def run_pace(arguments: argparse.Namespace) -> None:
    from bench.load.pace import Mode, Pace

    # A wake-up may else be 50 us late, so that one timer serves several sleepers.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1)
    mode = Mode[arguments.mode.upper()]
    pace = Pace(mode, listen(), arguments.rate, arguments.sessions, busy=not arguments.sleep)
    told = json.loads(sys.stdin.readline())
    opened = pace.open(told["port"], OPEN_TIMEOUT_S)
    if arguments.warmup:
        pace.run(arguments.warmup, ANSWER_TIMEOUT_S)
    window = Window(told["pids"])
    seconds = pace.run(arguments.seconds, ANSWER_TIMEOUT_S)
    result = window.close(pace.counts())
    if arguments.mode == "messages":
        result["errors"]["never_opened"] = arguments.sessions - opened
    say(result | {"seconds": seconds})


class Window:
    """What processes and CPUs use between its making and `close`."""

    def __init__(self, pids: list[int]) -> None:
        self.ticks, self.clocks = cpu.machine_ticks(), cpu.processes_ns([*pids, os.getpid()])

    def close(self, result: dict[str, Any]) -> dict[str, Any]:
        """The result with `cpu_ns` by pid, `client_cpu_ns`, and `machine_percent` by CPU."""
        after, ticks = cpu.processes_ns(self.clocks), cpu.machine_ticks()
        spent = {pid: ns - self.clocks[pid] for pid, ns in after.items()}
        own = spent.pop(os.getpid())
        return result | {
            "cpu_ns": {str(pid): ns for pid, ns in spent.items()},
            "client_cpu_ns": own,
            "machine_percent": cpu.machine_percent(self.ticks, ticks),
        }


def measure(client: Any, arguments: argparse.Namespace, settled: int) -> dict[str, Any]:
    window = Window(arguments.pids)
    seconds = client.run(arguments.seconds, arguments.operations)
    result = window.close({"seconds": seconds} | client.counts())
    result["errors"]["stalled"] = client.stalled(STALL_S)
    result["errors"]["never_opened"] = arguments.sessions - settled
    return result


def hold(client: Any, settled: int, wanted: int) -> None:
    """Keeps the sessions open and idle until stdin says so (a line, or its end)."""
    say({"held": settled})
    select.select([sys.stdin], [], [], HOLD_S_MAX)
    client.run(0.05)  # sees what was closed or sent to sessions that should have rested
    result = client.counts()
    result["errors"]["never_opened"] = wanted - settled
    say(result)


def say(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
