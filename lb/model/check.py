"""The recurring rule by which an endpoint's health is observed. One attempt under it is a probe."""

from __future__ import annotations

from dataclasses import dataclass, field

from lb.model.address import Address, SocketAddress
from lb.model.proxy import ProxyVersion


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What an http check asks and what it takes for a pass. `status` are inclusive ranges."""

    path: str = "/"
    host: str | None = None
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    status: tuple[tuple[int, int], ...] = ((200, 399),)


@dataclass(frozen=True, slots=True)
class Check:
    """Runs start to start, never overlapping. `http` is None for a check that only connects (type tcp).

    `interval_changing_s` holds while a streak runs, `interval_down_s` while the endpoint is DOWN. Jitter only
    shortens: an interval is drawn between (1 - jitter_percent/100) and 1 of its length.
    `initial_up` holds at process start only. `port` and `address` replace the endpoint's own when not None.
    `send_proxy`: a probe opens with such a header, one that names no client (LOCAL, UNKNOWN).
    """

    http: HttpRequest | None = None
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

    @property
    def type(self) -> str:
        return "tcp" if self.http is None else "http"

    def target(self, endpoint: SocketAddress) -> SocketAddress:
        """Where the probe goes. A port alone does not move a probe off a unix socket: it has none."""
        if not isinstance(endpoint, Address):
            return Address(self.address, self.port) if self.address and self.port else endpoint
        return Address(self.address or endpoint.host, self.port or endpoint.port)


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The outcome of one probe. `detail` is for people: what failed, or what was answered."""

    ok: bool
    detail: str
    duration_s: float = field(compare=False, default=0.0)
