"""The recurring rule by which an endpoint's health is observed. One attempt under it is a probe."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from lb.model.address import Address, SocketAddress
from lb.model.endpoint import Agent
from lb.model.proxy import ProxyVersion


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an http check asks and what it takes for a pass.

    `status` are inclusive ranges. `body`: a pattern (RE2) that the beginning of the body must match
    somewhere; None: it is not read.
    """

    path: str = "/"
    host: str | None = None
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    status: tuple[tuple[int, int], ...] = ((200, 399),)
    body: str | None = None


@dataclass(frozen=True, slots=True)
class Send:
    """A step of a dialog: these bytes are sent."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Expect:
    """A step of a dialog: what comes must contain these bytes. What follows them is left to the next step."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ExpectPattern:
    """A step of a dialog: what comes must match this (RE2, on bytes) somewhere."""

    pattern: str


Step = Send | Expect | ExpectPattern


@dataclass(frozen=True, slots=True)
class Dialog:
    """What a send_expect check says and hears, in order."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Datagram:
    """What a udp check sends. The reply must match the pattern (RE2) somewhere; None: any will do."""

    payload: bytes = b""
    reply: str | None = None


@dataclass(frozen=True, slots=True)
class DnsQuery:
    """What a dns check asks for. There must be an answer; with a pattern (RE2), a record whose text it
    matches somewhere."""

    query: str
    query_type: str = "A"
    answer: str | None = None


@dataclass(frozen=True, slots=True)
class GrpcHealth:
    """What a grpc check asks the standard health service for. `service` "": the server as a whole. `host`:
    the authority of the request; None: the address."""

    service: str = ""
    host: str | None = None


@dataclass(frozen=True, slots=True)
class RedisPing:
    """What a redis check begins with. `password` None: it does not log in."""

    user: str | None = None
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SmtpGreeting:
    """`domain`: what an smtp check calls itself."""

    domain: str = "localhost"


@dataclass(frozen=True, slots=True)
class PostgresLogin:
    """Who a postgres check logs in as. `password` None: it goes no further than where one is asked for.
    `database` None: the one that is called as the user."""

    user: str
    password: str | None = field(default=None, repr=False)
    database: str | None = None


@dataclass(frozen=True, slots=True)
class MysqlLogin:
    """Who a mysql check logs in as. `database` None: none."""

    user: str
    password: str | None = field(default=None, repr=False)
    database: str | None = None


@dataclass(frozen=True, slots=True)
class Program:
    """What an exec check runs. In the arguments {host}, {port} and {address} stand for the endpoint's."""

    path: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AgentQuery:
    """What an agent check sends before it listens; nothing: the agent speaks at once."""

    send: bytes = b""


Question = (
    HttpRequest
    | Dialog
    | Datagram
    | DnsQuery
    | GrpcHealth
    | RedisPing
    | SmtpGreeting
    | PostgresLogin
    | MysqlLogin
    | Program
    | AgentQuery
)
TYPES: dict[type[Question], str] = {
    HttpRequest: "http",
    Dialog: "send_expect",
    Datagram: "udp",
    DnsQuery: "dns",
    GrpcHealth: "grpc",
    RedisPing: "redis",
    SmtpGreeting: "smtp",
    PostgresLogin: "postgres",
    MysqlLogin: "mysql",
    Program: "exec",
    AgentQuery: "agent",
}


@dataclass(frozen=True, slots=True)
class TlsRule:
    """How a probe speaks TLS. `sni` None: no name is sent. `alpn`: one of them must be agreed on; empty: none
    is offered. `verify`: the path of a file of trusted certificates, or "system" for those of this machine;
    None: any certificate will do."""

    sni: str | None = None
    alpn: tuple[str, ...] = ()
    verify: str | None = None


@dataclass(frozen=True, slots=True)
class Damping:
    """An endpoint that goes DOWN again and again is held DOWN: from the second time within `window_s` on, for
    a time that doubles, up to `hold_down_max_s`."""

    window_s: float = 600.0
    hold_down_max_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Check:
    """Runs start to start, never overlapping.

    `question` None: that it connects, and completes a handshake where there is `tls`, is enough.
    `interval_changing_s` holds while a streak runs, `interval_down_s` while the endpoint is DOWN. Jitter only
    shortens: an interval is drawn between (1 - jitter_percent/100) and 1 of its length.
    `initial_up` holds at process start only. `port` and `address` replace the endpoint's own when not None.
    `send_proxy`: a probe opens with such a header, one that names no client (LOCAL, UNKNOWN). `damping` None:
    it may flap as it likes.
    """

    question: Question | None = None
    tls: TlsRule | None = None
    interval_s: float = 1.0
    interval_changing_s: float = 0.5
    interval_down_s: float = 2.0
    timeout_s: float = 0.8
    rise: int = 2
    fall: int = 3
    jitter_percent: int = 20
    port: int | None = None
    address: str | None = None
    initial_up: bool = True
    send_proxy: ProxyVersion | None = None
    damping: Damping | None = Damping()

    @property
    def type(self) -> str:
        if self.question is None:
            return "tcp" if self.tls is None else "tls"
        if isinstance(self.question, HttpRequest) and self.tls is not None:
            return "https"
        return TYPES[type(self.question)]

    @property
    def asks_agent(self) -> bool:
        """It tells what the endpoint wants, and does not prove that it serves."""
        return isinstance(self.question, AgentQuery)

    def target(self, endpoint: SocketAddress) -> SocketAddress:
        """Where the probe goes. A port alone does not move a probe off a unix socket: it has none."""
        if not isinstance(endpoint, Address):
            return Address(self.address, self.port) if self.address and self.port else endpoint
        return Address(self.address or endpoint.host, self.port or endpoint.port)


@dataclass(frozen=True, slots=True)
class Checks:
    """Of a pool, in the order of the file. Each must pass; `any_suffices`: one is enough."""

    each: tuple[Check, ...] = ()
    any_suffices: bool = False

    @property
    def initial_up(self) -> bool:
        """An endpoint is taken to serve before the first verdict."""
        return bool(self.each) and all(check.initial_up for check in self.each)


NO_CHECKS = Checks()


@dataclass(frozen=True, slots=True)
class AgentWords:
    """What an agent said of its endpoint; what it did not mention is None, and stays as it was.

    `up`: whether it serves. `wish`: ready, drain or maint. `percent`: of the
    endpoint's weight, 0 to 256.
    """

    up: bool | None = None
    wish: Agent | None = None
    percent: int | None = None


class Role(Enum):
    """Of an endpoint in a replicated service, as it says itself."""

    PRIMARY = "primary"
    REPLICA = "replica"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an endpoint showed: when it expires, in seconds since 1970, and how long that was from then."""

    expires_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The outcome of one probe. `detail` is for people: what failed, or what was answered.
    `certificate`: None where none was shown. `role`, `lag_s` and `agent`: as in
    lb.shell.questions.answer.Passed."""

    ok: bool
    detail: str
    duration_s: float = field(compare=False, default=0.0)
    certificate: Certificate | None = field(compare=False, default=None)
    role: Role | None = field(compare=False, default=None)
    lag_s: float | None = field(compare=False, default=None)
    agent: AgentWords | None = None
