"""The kinds of values that name a peer or a place to listen at: addresses, hosts, ranges of ports."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from lb.config.leaf import Leaf, matching
from lb.config.problem import NOT_YET, QUOTED_MAX, BadValue, quoted, shown
from lb.model.address import PATH_BYTES_MAX, PORT_MAX, UNIX_PREFIX, Address, SocketAddress, UnixAddress

BINDS_MAX = 4096  # each is a socket per worker

IP_PORT_PATTERN = r"[0-9.]+:[0-9]+|\[[0-9A-Fa-f:.]+\]:[0-9]+"
UNIX_PATTERN = "unix:/.+"
PORTS = re.compile(r"(?P<host>.*):(?P<first>[0-9]{1,5})-(?P<last>[0-9]{1,5})", re.ASCII)


@dataclass(frozen=True)
class Host(Leaf):
    """An IP address without a port. `ours`: one that this machine has, to connect from."""

    ours: bool = False

    def read(self, value: object) -> str:
        if not isinstance(value, str) or not is_ip(value):
            hint = address_hint(f"{value}:0") if isinstance(value, str) else None
            raise BadValue(f"{quoted(value)} is not an IP address", hint)
        address = read_ip_port(f"[{value}]:0" if ":" in value else f"{value}:0")
        if self.ours and address.is_wildcard:
            hint = "leave `source` empty for what the kernel chooses"
            raise BadValue(f"{quoted(value)} is no address to connect from", hint)
        return address.host

    def json(self) -> dict[str, Any]:
        return {"type": "string"}

    def range(self) -> str:
        return "an IP address"


@dataclass(frozen=True)
class Loopback(Leaf):
    """`ADDRESS:PORT` that no other machine reaches. Port 0: any free one."""

    def read(self, value: object) -> Address:
        address = read_ip_port(as_text(value))
        if not ipaddress.ip_address(address.host).is_loopback:
            raise BadValue(
                f"{quoted(value)} is open to other machines, and tokens to keep them out are not there yet",
                "write a loopback address, or off",
            )
        return address

    def json(self) -> dict[str, Any]:
        return matching(IP_PORT_PATTERN)

    def range(self) -> str:
        return "a loopback ADDRESS:PORT"


@dataclass(frozen=True)
class Target(Leaf):
    """What an endpoint is reached at: `ADDRESS:PORT`, or `unix:/path`."""

    def read(self, value: object) -> SocketAddress:
        text = as_text(value)
        if text.startswith(UNIX_PREFIX):
            return read_unix(text)
        address = read_ip_port(text)
        if address.port == 0:
            raise BadValue(f"{quoted(value)}: nothing can be reached at port 0")
        if address.is_wildcard:
            raise BadValue(
                f"{quoted(value)} stands for every address of a machine; an endpoint has one of its own"
            )
        return address

    def json(self) -> dict[str, Any]:
        return matching(f"{IP_PORT_PATTERN}|{UNIX_PATTERN}")

    def range(self) -> str:
        return "ADDRESS:PORT, or unix:/path"


@dataclass(frozen=True)
class Bind(Leaf):
    """Where a listener accepts: `ADDRESS:PORT`, `ADDRESS:FIRST-LAST`, or `unix:/path`.

    A wildcard is all addresses of its family, and port 0 any free one.
    """

    def read(self, value: object) -> tuple[SocketAddress, ...]:
        return read_bind(as_text(value))

    def show(self, value: Any) -> Any:
        return show_bind(value)

    def json(self) -> dict[str, Any]:
        return matching(rf"([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+(-[0-9]+)?|{UNIX_PATTERN}")

    def range(self) -> str:
        return f"ADDRESS:PORT, ADDRESS:FIRST-LAST, or unix:/path; {BINDS_MAX} ports in all"


def is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    raise BadValue(f"{quoted(value)} is not an address", "write it as ADDRESS:PORT, for example 0.0.0.0:8080")


def read_bind(text: str) -> tuple[SocketAddress, ...]:
    """The addresses of a range of ports, or the one there is."""
    if text.startswith(UNIX_PREFIX):
        return (read_unix(text),)
    match = PORTS.fullmatch(text)
    if match is None:
        return (read_ip_port(text),)
    first, last = int(match["first"]), int(match["last"])
    if not 1 <= first <= PORT_MAX or last > PORT_MAX:
        raise BadValue(f"{quoted(text)}: ports are 1 to {PORT_MAX}")
    host = read_ip_port(f"{match['host']}:{first}").host
    if last < first:
        raise BadValue(f"{quoted(text)} ends before it begins", f"write {match['host']}:{last}-{first}")
    if last - first >= BINDS_MAX:
        raise BadValue(f"{quoted(text)} is a range of {last - first + 1} ports; at most {BINDS_MAX}")
    return tuple([Address(host, port) for port in range(first, last + 1)])


def bind_count(text: str) -> int:
    """How many addresses it stands for; 1 too where it is wrong, for then it has a problem of its own."""
    match = PORTS.fullmatch(text)
    count = int(match["last"]) - int(match["first"]) + 1 if match else 1
    return count if 0 < count <= BINDS_MAX else 1


def show_bind(addresses: tuple[SocketAddress, ...]) -> str:
    """`read_bind` reads it back."""
    first, last = addresses[0], addresses[-1]
    return str(first) if first == last or isinstance(last, UnixAddress) else f"{first}-{last.port}"


def read_unix(text: str) -> UnixAddress:
    """In one spelling: `//` and `/./` are left out. What `..` means depends on links, so it is refused."""
    written = text.removeprefix(UNIX_PREFIX)
    if not written.startswith("/") or not written.isprintable():
        raise BadValue(f"{quoted(text)} has no absolute path", "write it as unix:/PATH")
    parts = [part for part in written.split("/") if part not in ("", ".")]
    if not parts or ".." in parts or written.endswith(("/", "/.")):
        raise BadValue(f"{quoted(text)} is not the path of a socket")
    path = "/" + "/".join(parts)
    if len(path.encode()) > PATH_BYTES_MAX:
        raise BadValue(f"a path of {len(path.encode())} bytes is too long; at most {PATH_BYTES_MAX}")
    return UnixAddress(path)


def read_ip_port(text: str) -> Address:
    """What Address.parse takes, less what the data path cannot use."""
    try:
        address = Address.parse(text)
    except ValueError as error:
        raise BadValue(shown(str(error), 2 * QUOTED_MAX), address_hint(text)) from None
    ip = ipaddress.ip_address(address.host)
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id:
        raise BadValue(f"{quoted(text)}: an address with an interface (%{ip.scope_id}) {NOT_YET}")
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        raise BadValue(f"{quoted(text)} is IPv4 in IPv6", f"write {ip.ipv4_mapped} instead")
    return address


def address_hint(text: str) -> str | None:
    host, colon, port = text.rpartition(":")
    if colon and host in ("", "*"):
        return f"write 0.0.0.0:{shown(port)} for every IPv4 address, [::]:{shown(port)} for every IPv6 one"
    if text.startswith("/"):
        return f"write {UNIX_PREFIX}{shown(text)}"
    if PORTS.fullmatch(text):
        return "a range of ports is for `bind`; an endpoint has one address"
    if re.fullmatch(r"[A-Za-z0-9.-]*[A-Za-z][A-Za-z0-9.-]*", host):
        return f"write an IP address: looking up a name {NOT_YET}"
    return None
