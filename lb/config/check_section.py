"""What the file may say of a check. What only http knows is an error in a tcp check (checks.py)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from lb.config import shorthand
from lb.config.addresses import Host
from lb.config.leaf import TOKEN_PATTERN, Either, Text, Word
from lb.config.numbers import Count, Duration, Percent, StatusRange
from lb.config.section import SOME, Section, defaults, keys
from lb.model.address import PORT_MAX
from lb.model.check import Check, HttpRequest
from lb.model.proxy import ProxyVersion

CHECK = defaults(Check)
HTTP_REQUEST = defaults(HttpRequest)

PROXY_VERSIONS = tuple(version.value for version in ProxyVersion)
HTTP_KEYS = ("path", "host", "method", "headers", "status")
LATER_TYPES = (
    "send_expect",
    "tls",
    "grpc",
    "udp",
    "dns",
    "postgres",
    "redis",
    "mysql",
    "smtp",
    "exec",
    "agent",
)

HeaderName = Annotated[str, Text("a name of a header", TOKEN_PATTERN)]
HeaderValue = Annotated[str, Text("a value of a header (visible ASCII)", "[ -~]*", 2048)]


def tcp_has_no(section: dict[str, Any]) -> None:
    """In the JSON Schema: a check of type tcp takes none of the keys of http."""
    section["if"] = {"properties": {"type": {"const": "tcp"}}}
    section["then"] = {"properties": dict.fromkeys(HTTP_KEYS, False)}


class CheckSection(Section):
    model_config = ConfigDict(json_schema_extra=tcp_has_no)
    later = keys("all any tls sni alpn verify damping body steps program arguments service user database")

    type: Annotated[str, Word(("tcp", "http"), later=LATER_TYPES)]
    """tcp: it connects, no more. http: it answers a request as it should."""
    interval: Annotated[float, Duration("10ms", "1h")] = CHECK.interval_s
    """Time from the start of one probe to the start of the next; probes never overlap."""
    interval_changing: Annotated[float, Duration("10ms", "1h")] = CHECK.interval_changing_s
    """The same while a streak runs towards rise or fall."""
    interval_down: Annotated[float, Duration("10ms", "1h")] = CHECK.interval_down_s
    """The same while the endpoint is DOWN."""
    timeout: Annotated[float, Duration("10ms", "1h")] = CHECK.timeout_s
    """For the whole probe, connecting and answering."""
    rise: Annotated[int, Count(1, 100, "probes")] = CHECK.rise
    """Passes in a row until it is UP."""
    fall: Annotated[int, Count(1, 100, "probes")] = CHECK.fall
    """Failures in a row until it is DOWN."""
    jitter: Annotated[int, Percent(50)] = CHECK.jitter_percent
    """How much an interval is shortened at most, by chance, so that probes spread out."""
    port: Annotated[int | None, Either(None, Count(1, PORT_MAX))] = CHECK.port
    """Probe this port; empty: the endpoint's."""
    address: Annotated[str | None, Either(None, Host())] = CHECK.address
    """Probe this address; empty: the endpoint's."""
    initial: Annotated[str, Word(("up", "unknown"))] = "up" if CHECK.initial_up else "unknown"
    """What an endpoint is before its first verdict when lb starts. One added later is unknown."""
    send_proxy: Annotated[str | None, Either(None, Word((*PROXY_VERSIONS, "off")))] = None
    """Open each probe with a PROXY header: v1, v2 or off; empty: as the pool does, but not where this check
    has a port or an address of its own."""

    path: Annotated[str, Text("a path; it begins with / and has no spaces", r"/[!-~]*", 2048)] = (
        HTTP_REQUEST.path
    )
    """http: what to ask for."""
    host: Annotated[str | None, Either(None, Text("a host name", "[!-~]+"))] = HTTP_REQUEST.host
    """http: the Host header; empty: the address that is probed."""
    method: Annotated[str, Text("a method; capital letters", "[A-Z]{1,16}")] = HTTP_REQUEST.method
    """http: how to ask."""
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    """http: further headers of the request."""
    status: Annotated[list[Annotated[tuple[int, int], StatusRange()]], SOME, shorthand.ONE] = Field(
        default_factory=lambda: list(HTTP_REQUEST.status)
    )
    """http: the answers that pass, as numbers and ranges; 200-399 unless written."""


class DefaultCheckSection(CheckSection):
    """Without a type it completes the checks of pools; with one, pools that have no `check` get it whole."""

    type: Annotated[str, Word(("tcp", "http"), later=LATER_TYPES)] = "tcp"
