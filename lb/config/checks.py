"""What no single key can show: addresses that clash, pools that are not there, names that are taken.

Reads the tree, not the finished values, so that these problems are found beside those of single keys; what is
wrong by itself is passed over here, it has its own problem.
"""

from __future__ import annotations

from collections.abc import Iterator

from lb.config.check_section import HTTP_KEYS
from lb.config.places import Places
from lb.config.problem import KeyPath, Problem, did_you_mean, dotted, quoted
from lb.config.reading import address_of, items, members, text
from lb.config.tree import Mapping, Node, Scalar
from lb.model.address import Address
from lb.model.config import AdminPlane

# Headers of a probe that lb writes itself, or that would announce a body.
OWN_HEADERS = {"host", "connection", "content-length", "transfer-encoding"}

Found = Iterator[Problem]


def errors(places: Places) -> Found:
    yield from clashing_addresses(places)
    yield from missing_pools(places)
    if isinstance(defaults := places.root.get("defaults"), Mapping):
        yield from keys_of_another_check(("defaults", "check"), defaults.get("check"), places)
    for name, pool in members(places.root, "pools"):
        yield from repeated_endpoints(("pools", name), pool, places)
        yield from keys_of_another_check(("pools", name, "check"), pool.get("check"), places)
    yield from repeated_cpus(places)


def warnings(places: Places) -> Found:
    used = {text(listener, "pool") for _, listener in members(places.root, "listeners")}
    for name, pool in members(places.root, "pools"):
        if name not in used:
            yield places.problem(("pools", name), "no listener uses this pool", at_key=True)
        if not items(pool.get("endpoints")):
            yield places.problem(("pools", name), "a pool without endpoints ends every session", at_key=True)
    if not members(places.root, "listeners"):
        yield places.problem(("listeners",), "without a listener nothing is served", at_key=True)


def clashing_addresses(places: Places) -> Found:
    """A wildcard takes the port on every address of its family. Port 0 is any free one: no clash."""
    taken: dict[tuple[bool, int], dict[str, str]] = {}
    for path, address, owner in bound_addresses(places.root):
        if address.port == 0:
            continue
        hosts = taken.setdefault((address.is_ipv6, address.port), {})
        wildcard = "::" if address.is_ipv6 else "0.0.0.0"
        other = next((host for host in (address.host, wildcard) if host in hosts), None)
        if other is None and address.is_wildcard and hosts:
            other = next(iter(hosts))
        if other is not None:
            shown = "the same address" if other == address.host else str(Address(other, address.port))
            yield places.problem(
                path, f"{address} is taken: {hosts[other]} has {shown}", hint_for(hosts[other])
            )
        hosts.setdefault(address.host, owner)


def bound_addresses(root: Mapping) -> Iterator[tuple[KeyPath, Address, str]]:
    """Every address lb is to listen on, the admin server's first, and what for."""
    admin = root.get("admin")
    bind = admin.get("bind") if isinstance(admin, Mapping) else None
    default = AdminPlane().bind
    if bind is None and default is not None:
        yield ("admin", "bind"), default, "admin.bind (by default)"
    elif address := address_of(bind):
        yield ("admin", "bind"), address, "admin.bind"
    for name, listener in members(root, "listeners"):
        for index, node in enumerate(items(listener.get("bind"))):
            if address := address_of(node):
                path = ("listeners", name, "bind", index)
                yield path, address, dotted(path[:-1])


def hint_for(owner: str) -> str | None:
    return "move it, or write `admin: {bind: off}`" if owner.startswith("admin.") else None


def missing_pools(places: Places) -> Found:
    pools = places.root.get("pools")
    known = pools.entries if isinstance(pools, Mapping) else {}
    for name, listener in members(places.root, "listeners"):
        pool = text(listener, "pool")
        if pool is not None and pool not in known:
            path = ("listeners", name, "pool")
            yield places.problem(path, f"there is no pool {quoted(pool)}", did_you_mean(pool, known))


def repeated_endpoints(path: KeyPath, pool: Mapping, places: Places) -> Found:
    """An endpoint without a name is called by its address."""
    first: dict[str, int] = {}
    for index, node in enumerate(items(pool.get("endpoints"))):
        name = text(node, "name") if isinstance(node, Mapping) else None
        address = address_of(node.get("address") if isinstance(node, Mapping) else node)
        called = name or str(address or "")
        if not called:
            continue
        if called in first:
            hint = "give one of them a `name`" if name is None else None
            message = f"{quoted(called)} is also endpoints[{first[called]}] of this pool"
            yield places.problem((*path, "endpoints", index, "name" if name else "address"), message, hint)
        first.setdefault(called, index)


def keys_of_another_check(path: KeyPath, check: Node | None, places: Places) -> Found:
    if not isinstance(check, Mapping):
        return
    if text(check, "type") == "tcp":
        for key in HTTP_KEYS:
            if key in check.entries:
                message = "is a key of http checks; this one is of type tcp"
                yield places.problem((*path, key), message, "write `type: http`", at_key=True)
    headers = check.get("headers")
    for header in headers.entries if isinstance(headers, Mapping) else ():
        if header.lower() in OWN_HEADERS:
            hint = "write `host` beside `headers`" if header.lower() == "host" else None
            yield places.problem((*path, "headers", header), "is written by lb itself", hint, at_key=True)


def repeated_cpus(places: Places) -> Found:
    workers = places.root.get("workers")
    cpus = workers.get("cpus") if isinstance(workers, Mapping) else None
    seen = set()
    for index, node in enumerate(items(cpus)):
        value = node.value if isinstance(node, Scalar) else None
        if value is not None and value in seen:
            yield places.problem(("workers", "cpus", index), f"CPU {value} is in the list already")
        seen.add(value)
