"""What the file may say of a check. A key that only other types know is an error (checks.py)."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from lb.config import shorthand
from lb.config.addresses import Host
from lb.config.dialog_section import StepSection
from lb.config.leaf import TOKEN_PATTERN, Bytes, Either, Flag, Hex, Pattern, Secret, Text, Trust, Word
from lb.config.numbers import Count, Duration, Percent, StatusRange
from lb.config.section import SOME, Section, defaults
from lb.model.address import PORT_MAX
from lb.model.check import Check, Damping, Datagram, DnsQuery, GrpcHealth, HttpRequest, SmtpGreeting
from lb.model.proxy import ProxyVersion

CHECK = defaults(Check)
DAMPING = defaults(Damping)
HTTP_REQUEST = defaults(HttpRequest)
DATAGRAM = defaults(Datagram)
DNS_QUERY = defaults(DnsQuery)
GRPC_HEALTH = defaults(GrpcHealth)
SMTP_GREETING = defaults(SmtpGreeting)

# Of the DNS, and of TLS: labels of 1 to 63 characters, no escapes.
LABEL = r"[!-\-/-\[\]-~]{1,63}"
DNS_NAME = rf"({LABEL}\.)*{LABEL}\.?|\."
HOST_NAME = rf"({LABEL}\.)*{LABEL}"
QUERY_TYPES = ("A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT")

PROXY_VERSIONS = tuple(version.value for version in ProxyVersion)
TYPES = (
    "tcp",
    "tls",
    "http",
    "https",
    "grpc",
    "send_expect",
    "udp",
    "dns",
    "postgres",
    "redis",
    "mysql",
    "smtp",
    "exec",
    "agent",
)

# The keys that not every type has.
HTTP_KEYS = ("path", "host", "method", "headers", "status", "body")
KEYS_OF_TYPE = {
    "http": HTTP_KEYS,
    "https": HTTP_KEYS,
    "send_expect": ("steps",),
    "udp": ("payload", "payload_hex", "reply"),
    "dns": ("query", "query_type", "answer"),
    "grpc": ("service", "host"),
    "redis": ("user", "password"),
    "postgres": ("user", "password", "database"),
    "mysql": ("user", "password", "database"),
    "exec": ("program", "arguments"),
    "agent": ("send",),
    "smtp": ("domain",),
}
UNCONNECTED_TYPES = ("udp", "dns", "exec")  # lb connects to nobody: neither TLS nor PROXY headers
TLS_KEYS = ("sni", "alpn", "verify")  # of types that are TLS, and of others with `tls: true`
TLS_TYPES = ("tls", "https")
STEPS = Field(min_length=1, max_length=32)
GROUPS = ("all", "any")  # of checks
CHECKS_MAX = 8


def is_known(key: str, type: str | None) -> bool:
    """Whether a check of this type has the key; one without a type may become any."""
    owners = {owner for owner, names in KEYS_OF_TYPE.items() if key in names}
    return type is None or not owners or type in owners


HeaderName = Annotated[str, Text("a name of a header", TOKEN_PATTERN)]
HeaderValue = Annotated[str, Text("a value of a header (visible ASCII)", "[ -~]*", 2048)]


def own_keys_only(section: dict[str, Any]) -> None:
    """In the JSON Schema: a check has no key that only other types have."""
    others = {type: [key for key in section["properties"] if not is_known(key, type)] for type in TYPES}
    section["allOf"] = [
        {
            "if": {"properties": {"type": {"const": type}}},
            "then": {"properties": dict.fromkeys(keys, False)},
        }
        for type, keys in others.items()
    ]


class DampingSection(Section):
    window: Annotated[float, Duration("1s", "1d")] = DAMPING.window_s
    """How long it counts that the endpoint went DOWN."""
    hold_down_max: Annotated[float, Duration("0s", "1d")] = DAMPING.hold_down_max_s
    """The longest that it is held DOWN."""


class CheckSection(Section):
    model_config = ConfigDict(json_schema_extra=own_keys_only)
    type: Annotated[str, Word(TYPES)]
    """tcp: it connects, no more. tls: it completes a handshake, too. http, https: it answers a request as it
    should. grpc: its health service says SERVING. send_expect: it answers what is sent, step by step. udp:
    it replies to a datagram. dns: it has an answer to a query. redis: it answers PING. postgres, mysql: it
    lets lb log in, and says its role. smtp: it greets. exec: a program ends with exit code 0. agent: a
    program beside the endpoint says how it is (up, down, ready, drain, maint, 75%); its silence says
    nothing."""
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
    damping: Annotated[DampingSection | None, shorthand.OFF] = DampingSection()
    """An endpoint that goes DOWN again and again is held DOWN, from the second time on: 2s, 4s, 8s and so on;
    `damping: off`: it is not."""
    initial: Annotated[str, Word(("up", "unknown"))] = "up" if CHECK.initial_up else "unknown"
    """What an endpoint is before its first verdict when lb starts. One added later is unknown."""
    send_proxy: Annotated[str | None, Either(None, Word((*PROXY_VERSIONS, "off")))] = None
    """Open each probe with a PROXY header: v1, v2 or off; empty: as the pool does, but not where this check
    has a port or an address of its own."""

    tls: Annotated[bool, Flag()] = False
    """Speak TLS, after a PROXY header; the types tls and https do."""
    sni: Annotated[str | None, Either(None, Text("a host name", HOST_NAME, 253))] = None
    """TLS: the name to ask for, and to verify; empty: none is asked for, and the address is verified."""
    alpn: Annotated[list[Annotated[str, Text("a protocol", "[!-~]{1,255}")]], shorthand.ONE] = []  # noqa: RUF012
    """TLS: protocols, one of which must be agreed on: one, or a list (h2, http/1.1); empty: none is
    offered."""
    verify: Annotated[str | None, Trust()] = None
    """TLS: what certificates to trust: true (those that this machine trusts), or the path of a file of them;
    false: any will do."""

    path: Annotated[str, Text("a path; it begins with / and has no spaces", r"/[!-~]*", 2048)] = (
        HTTP_REQUEST.path
    )
    """http: what to ask for."""
    host: Annotated[str | None, Either(None, Text("a host name", "[!-~]+"))] = HTTP_REQUEST.host
    """http: the Host header, grpc: the authority; empty: the address that is probed."""
    method: Annotated[str, Text("a method; capital letters", "[A-Z]{1,16}")] = HTTP_REQUEST.method
    """http: how to ask."""
    headers: dict[HeaderName, HeaderValue] = Field(default={})
    """http: further headers of the request."""
    status: Annotated[list[Annotated[tuple[int, int], StatusRange()]], SOME, shorthand.ONE] = Field(
        default_factory=lambda: list(HTTP_REQUEST.status)
    )
    """http: the answers that pass, as numbers and ranges; 200-399 unless written."""
    body: Annotated[str | None, Either(None, Pattern())] = HTTP_REQUEST.body
    """http: what the body must match somewhere, within its first 16 KiB (RE2); empty: it is not read."""

    steps: Annotated[list[StepSection], STEPS] | None = None
    """send_expect: what is sent and what is awaited, in order."""

    payload: Annotated[bytes | None, Either(None, Bytes())] = None
    """udp: a text to send; a reply must come. Empty: a datagram without any bytes."""
    payload_hex: Annotated[bytes | None, Either(None, Hex())] = None
    """udp: bytes to send, in the place of a text."""
    reply: Annotated[str | None, Either(None, Pattern())] = DATAGRAM.reply
    """udp: what the reply must match somewhere (RE2); empty: any will do."""

    query: Annotated[str | None, Either(None, Text("a name of the DNS", DNS_NAME, 253))] = None
    """dns: the name to ask for."""
    query_type: Annotated[str, Word(QUERY_TYPES)] = DNS_QUERY.query_type
    """dns: the type of record to ask for; there must be one in the answer."""
    answer: Annotated[str | None, Either(None, Pattern())] = DNS_QUERY.answer
    """dns: what the text of one record must match somewhere (RE2); empty: any will do."""

    service: Annotated[str, Text("a name of a service", "[!-~]{0,127}")] = GRPC_HEALTH.service
    """grpc: the service to ask for; empty: the server as a whole."""

    user: Annotated[str | None, Either(None, Text("a user", "[^\x00-\x20]+"))] = None
    """redis, postgres, mysql: who to log in as; redis, empty: with the password alone."""
    password: Annotated[
        str | None, Either(None, Secret("a text of up to 255 characters", r"[^\x00-\x1f]+"))
    ] = None
    """Their password, best as ${NAME} from the environment. Empty: redis is not logged in to, postgres no
    further than where a password is asked for."""
    database: Annotated[str | None, Either(None, Text("a name of a database", r"[^\x00-\x1f]+"))] = None
    """postgres, mysql: where to log in to; empty: postgres the one called as the user, mysql none."""

    domain: Annotated[str, Text("a host name", "[!-~]+")] = SMTP_GREETING.domain
    """smtp: what lb calls itself."""

    program: Annotated[str | None, Either(None, Text("an absolute path", r"/[^\x00]*"))] = None
    """exec: what to run; takes `allow_exec: true`. Exit code 0 passes."""
    arguments: list[Annotated[str, Text("an argument", r"[^\x00]*")]] = []  # noqa: RUF012
    """exec: its arguments; {host}, {port} and {address} stand for the endpoint's. So do LB_HOST, LB_PORT and
    LB_ADDRESS in its environment."""

    send: Annotated[bytes | None, Either(None, Bytes())] = None
    """agent: a text to send before it answers; empty: it answers at once."""


CHECKS = Field(min_length=1, max_length=CHECKS_MAX)


def one_or_several(section: dict[str, Any]) -> None:
    """In the JSON Schema: it has a type, or is a group."""
    own_keys_only(section)
    section["anyOf"] = [{"required": [key]} for key in ("type", *GROUPS)]


class PoolCheckSection(CheckSection):
    """One check, or a group of them, which has no other key (checks.py)."""

    model_config = ConfigDict(json_schema_extra=one_or_several)

    type: Annotated[str, Word(TYPES)] = ""
    """tcp: it connects, no more. tls: it completes a handshake, too. http, https: it answers a request as it
    should. grpc: its health service says SERVING. send_expect: it answers what is sent, step by step. udp:
    it replies to a datagram. dns: it has an answer to a query. redis: it answers PING. postgres, mysql: it
    lets lb log in, and says its role. smtp: it greets. exec: a program ends with exit code 0. agent: a
    program beside the endpoint says how it is (up, down, ready, drain, maint, 75%); its silence says
    nothing.
    Empty where `all` or `any` stands."""
    all: Annotated[list[CheckSection], CHECKS] | None = None
    """Several checks in the place of one: each must pass."""
    any: Annotated[list[CheckSection], CHECKS] | None = None
    """Several checks in the place of one: one that passes is enough."""


class DefaultCheckSection(PoolCheckSection):
    """Without a type it completes the checks of pools; with one, pools that have no `check` get it whole."""

    type: Annotated[str, Word(TYPES)] = "tcp"
