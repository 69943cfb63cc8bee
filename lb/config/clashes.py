"""Two that want to listen at one place.

A wildcard takes the port on every address of its family; port 0 is any free one, so nobody's. A network
namespace has ports of its own, and two sockets of different interfaces do not meet. A path is a path.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from lb.config.places import Places
from lb.config.problem import KeyPath, Problem, dotted
from lb.config.reading import address_of, binds_of, items, members, text
from lb.config.tree import Mapping
from lb.model.address import Address, SocketAddress, UnixAddress
from lb.model.config import AdminPlane, Config


class Wish(NamedTuple):
    """One key that asks for addresses. `owner` is how problems call it."""

    path: KeyPath
    owner: str
    addresses: tuple[SocketAddress, ...]
    netns: str | None = None
    interface: str | None = None


def clashing_addresses(places: Places) -> Iterator[Problem]:
    """Told once for each key, however many ports it stands for."""
    ports, paths = Ports(), dict[str, str]()
    for wish in wishes(places.root):
        told = False
        for address in wish.addresses:
            if isinstance(address, UnixAddress):
                taken = (paths[address.path], str(address)) if address.path in paths else None
                paths.setdefault(address.path, wish.owner)
            else:
                taken = ports.take(address, wish)
            if taken and not told:
                told = True
                owner, other = taken
                has = "the same address" if other == str(address) else other
                yield places.problem(wish.path, f"{address} is taken: {owner} has {has}", hint_for(owner))


class Ports:
    """Who has what: by namespace, family and port; then by host; then by interface."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str | None, bool, int], dict[str, dict[str | None, str]]] = {}

    def take(self, address: Address, wish: Wish) -> tuple[str, str] | None:
        """Who had it already, and what exactly."""
        if address.port == 0:
            return None
        hosts = self._taken.setdefault((wish.netns, address.is_ipv6, address.port), {})
        wildcard = "::" if address.is_ipv6 else "0.0.0.0"
        meets = (address.host, *hosts) if address.is_wildcard else (address.host, wildcard)
        found = None
        for host in meets:
            if found is None and (owner := owner_of(hosts.get(host, {}), wish.interface)):
                found = owner, str(Address(host, address.port))
        hosts.setdefault(address.host, {}).setdefault(wish.interface, wish.owner)
        return found


def owner_of(interfaces: dict[str | None, str], wanted: str | None) -> str | None:
    """None is every interface, so it meets all of them."""
    if wanted is None:
        return next(iter(interfaces.values()), None)
    return interfaces.get(wanted) or interfaces.get(None)


def wishes(root: Mapping) -> Iterator[Wish]:
    """The admin server's first: it can be moved."""
    yield from admin_wishes(root)
    for name, listener in members(root, "listeners"):
        tcp = listener.get("tcp")
        options = tcp if isinstance(tcp, Mapping) else Mapping(listener.mark)
        netns, interface = text(options, "netns"), text(options, "interface")
        for index, node in enumerate(items(listener.get("bind"))):
            path: KeyPath = ("listeners", name, "bind", index)
            yield Wish(path, dotted(path[:-1]), binds_of(node), netns, interface)


def admin_wishes(root: Mapping) -> Iterator[Wish]:
    node = root.get("admin")
    admin = node if isinstance(node, Mapping) else Mapping(root.mark)
    bind, default = admin.get("bind"), AdminPlane().bind
    if bind is None and default is not None:
        yield Wish(("admin", "bind"), "admin.bind (by default)", (default,))
    elif address := address_of(bind):
        yield Wish(("admin", "bind"), "admin.bind", (address,))
    socket, folder = text(admin, "socket"), text(root, "runtime_dir")
    if socket is None:
        path = Config((), (), runtime_dir=folder or Config((), ()).runtime_dir).admin_socket
        yield Wish(("runtime_dir",), "admin.socket (by default)", (UnixAddress(path),))
    else:
        yield Wish(("admin", "socket"), "admin.socket", (UnixAddress(socket),))


def hint_for(owner: str) -> str | None:
    return "move it, or write `admin: {bind: off}`" if owner.startswith("admin.bind") else None
