"""The access log read back: when a session ran, and which line is about which client."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from tests.support.exchange_client import Failure

Line = dict[str, Any]
SLACK_S = 0.005  # the log has milliseconds, and lb reads its clock once per batch


def ended_s(line: Line) -> float:
    """Wall clock."""
    return datetime.fromisoformat(line["time"]).timestamp()


def began_s(line: Line) -> float:
    return ended_s(line) - line["duration_ms"] / 1000


def open_between(lines: Iterable[Line], endpoint: str, from_s: float, until_s: float) -> list[Line]:
    """Sessions of an endpoint that lived at any moment of a span of the wall clock."""
    return [
        line
        for line in lines
        if line["endpoint"] == endpoint
        and began_s(line) <= until_s + SLACK_S
        and ended_s(line) >= from_s - SLACK_S
    ]


class Matched:
    """Which line of the log explains each failure that a client saw.

    A failure was *routed* when its session was connected to an endpoint; every other one is lb's own: it
    refused, or accepted and never found an endpoint, or lost the session without a word.
    """

    def __init__(self, lines: Iterable[Line], failures: Iterable[Failure]) -> None:
        self.routed: list[tuple[Failure, Line]] = []
        self.unrouted: list[tuple[Failure, Line | None]] = []
        by_client: dict[str, list[Line]] = defaultdict(list)
        for line in lines:
            by_client[line["client"]].append(line)
        for failure in failures:
            line = _session(by_client[f"127.0.0.1:{failure.local_port}"], failure)
            if line is not None and line["connect_ms"] is not None:
                self.routed.append((failure, line))
            else:
                self.unrouted.append((failure, line))


def _session(lines: list[Line], failure: Failure) -> Line | None:
    """A client's port is used again and again: the session is the first that did not end before the failure
    began."""
    later = [line for line in lines if ended_s(line) >= failure.began_s - SLACK_S]
    return min(later, key=ended_s, default=None) if failure.stage == "answer" else None
