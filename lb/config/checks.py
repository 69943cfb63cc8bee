"""What no single key can show: pools that are not there, names that are taken, keys without effect.

Reads the tree, not the finished values, so that these problems are found beside those of single keys; what is
wrong by itself is passed over here, it has its own problem.
"""

from __future__ import annotations

from collections.abc import Iterator

from lb.config.check_section import GROUPS, KEYS_OF_TYPE, TLS_KEYS, TLS_TYPES, UNCONNECTED_TYPES, is_known
from lb.config.clashes import clashing_addresses
from lb.config.dialog_section import STEP_KEYS
from lb.config.places import Places
from lb.config.pool_section import HashSection
from lb.config.problem import KeyPath, Problem, did_you_mean, quoted
from lb.config.reading import address_of, flag, items, members, number, text
from lb.config.tree import Mapping, Node, Scalar, plain
from lb.model.pool import HashRule, Policy

# Headers of a probe that lb writes itself, or that would announce a body.
OWN_HEADERS = {"host", "connection", "content-length", "transfer-encoding"}

# What a check cannot do without, and an example.
NEEDED = {
    "send_expect": ("steps", 'steps: [{send: "PING\\r\\n"}, {expect: PONG}]'),
    "dns": ("query", "query: example.com"),
    "postgres": ("user", "user: lb"),
    "mysql": ("user", "user: lb"),
    "exec": ("program", "program: /usr/lib/nagios/plugins/check_ldap"),
}

HASHING = (Policy.SOURCE_HASH.value, Policy.MAGLEV.value)
DEFAULT_POLICY = Policy.ROUND_ROBIN.value
HASH_DEFAULTS = HashSection().model_dump()
SLOTS_PER_ENDPOINT_MIN = 100  # the Maglev paper's rule of thumb for shares within a percent

Found = Iterator[Problem]


def errors(places: Places) -> Found:
    yield from clashing_addresses(places)
    yield from missing_pools(places)
    if isinstance(defaults := places.root.get("defaults"), Mapping):
        yield from checks_of_pool(("defaults", "check"), defaults.get("check"), places, typed=False)
    for name, pool in members(places.root, "pools"):
        yield from repeated_endpoints(("pools", name), pool, places)
        yield from checks_of_pool(("pools", name, "check"), pool.get("check"), places)
    yield from repeated_cpus(places)


def warnings(places: Places) -> Found:
    used = {text(listener, "pool") for _, listener in members(places.root, "listeners")}
    for name, pool in members(places.root, "pools"):
        if name not in used:
            yield places.problem(("pools", name), "no listener uses this pool", at_key=True)
        if not items(pool.get("endpoints")):
            yield places.problem(("pools", name), "a pool without endpoints ends every session", at_key=True)
        yield from hash_without_effect(name, pool, places)
        yield from queue_without_effect(name, pool, places)
    if not members(places.root, "listeners"):
        yield places.problem(("listeners",), "without a listener nothing is served", at_key=True)


def hash_without_effect(name: str, pool: Mapping, places: Places) -> Found:
    """One that stands in `defaults` is for the pools that do hash; one that says nothing new is no wish."""
    policy, rule = text(pool, "policy"), pool.get("hash")
    if policy in HASHING:
        yield from small_table(name, pool, places)
    elif isinstance(rule, Mapping) and rule is not of_defaults(places.root, "hash"):
        if plain(rule).items() <= HASH_DEFAULTS.items():
            return
        message = f"has no effect: the policy {policy or DEFAULT_POLICY} does not hash"
        hint = f"write `policy: {Policy.MAGLEV.value}` or `policy: {Policy.SOURCE_HASH.value}`"
        yield places.problem(("pools", name, "hash"), message, hint, at_key=True)


def small_table(name: str, pool: Mapping, places: Places) -> Found:
    """Each endpoint has a share of the slots; with few of them the shares are coarse, or none is left."""
    rule, endpoints = pool.get("hash"), len(items(pool.get("endpoints")))
    table = number(rule, "table") if isinstance(rule, Mapping) else None
    slots = HashRule().table if table is None else table
    if text(pool, "policy") == Policy.MAGLEV.value and slots < SLOTS_PER_ENDPOINT_MIN * endpoints:
        message = f"{slots} slots for {endpoints} endpoints: their shares are more than a percent off"
        hint = f"write a prime number above {SLOTS_PER_ENDPOINT_MIN * endpoints} for `hash.table`"
        yield places.problem(("pools", name, "hash", "table"), message, hint, at_key=True)


def queue_without_effect(name: str, pool: Mapping, places: Places) -> Found:
    queue = pool.get("queue")
    if not isinstance(queue, Mapping) or queue is of_defaults(places.root, "queue"):
        return
    endpoints = [node for node in items(pool.get("endpoints")) if isinstance(node, Mapping)]
    if number(queue, "max") and not any(number(endpoint, "sessions_max") for endpoint in endpoints):
        message = "nobody ever waits: no endpoint of this pool has a sessions_max"
        yield places.problem(("pools", name, "queue"), message, at_key=True)


def of_defaults(root: Mapping, key: str) -> Node | None:
    defaults = root.get("defaults")
    return defaults.get(key) if isinstance(defaults, Mapping) else None


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


def checks_of_pool(path: KeyPath, check: Node | None, places: Places, *, typed: bool = True) -> Found:
    if not isinstance(check, Mapping):
        return
    groups = [key for key in GROUPS if key in check.entries]
    if not groups:
        if typed and "type" not in check.entries:
            yield places.problem(path, "`type` is missing", at_key=True)
        yield from keys_of_another_check(path, check, places)
        yield from unallowed_program(path, check, places)
    for key in check.entries if groups else ():
        if key != groups[0]:
            message = f"stands beside `{groups[0]}`, which is a group of checks"
            yield places.problem((*path, key), message, "write it in each of them", at_key=True)
    for group in groups[:1]:
        for index, each in enumerate(items(check.get(group))):
            inside = (*path, group, index)
            yield from keys_of_another_check(inside, each, places)
            yield from unallowed_program(inside, each, places)
            if group == "any" and isinstance(each, Mapping) and text(each, "type") == "agent":
                message = "an agent that answers does not prove that the endpoint serves"
                yield places.problem((*inside, "type"), message, "write `all` in the place of `any`")


def keys_of_another_check(path: KeyPath, check: Node | None, places: Places) -> Found:
    if not isinstance(check, Mapping):
        return
    kind = text(check, "type")
    for key in check.entries:
        if not is_known(key, kind):
            owners = [owner for owner, keys in KEYS_OF_TYPE.items() if key in keys]
            message = f"is a key of {owners[0]} checks; this one is of type {kind}"
            yield places.problem((*path, key), message, f"write `type: {owners[0]}`", at_key=True)
        elif kind in UNCONNECTED_TYPES and key in (*TLS_KEYS, "tls", "send_proxy"):
            yield places.problem(
                (*path, key), f"has no effect: a check of type {kind} does not connect", at_key=True
            )
        elif key in TLS_KEYS and kind is not None and kind not in TLS_TYPES and not flag(check, "tls"):
            message = f"has no effect: a check of type {kind} does not speak TLS"
            yield places.problem((*path, key), message, "write `tls: true`", at_key=True)
    yield from steps(path, check, places)
    headers = check.get("headers")
    for header in headers.entries if isinstance(headers, Mapping) else ():
        if header.lower() in OWN_HEADERS:
            hint = "write `host` beside `headers`" if header.lower() == "host" else None
            yield places.problem((*path, "headers", header), "is written by lb itself", hint, at_key=True)


def unallowed_program(path: KeyPath, check: Node | None, places: Places) -> Found:
    if isinstance(check, Mapping) and text(check, "type") == "exec" and not flag(places.root, "allow_exec"):
        message = "runs a program, which this file does not allow"
        yield places.problem((*path, "type"), message, "write `allow_exec: true` at the top level")


def steps(path: KeyPath, check: Mapping, places: Places) -> Found:
    if (needed := NEEDED.get(text(check, "type") or "")) and needed[0] not in check.entries:
        yield places.problem(path, f"`{needed[0]}` is missing", f"write for example {needed[1]}", at_key=True)
    if text(check, "payload") is not None and text(check, "payload_hex") is not None:
        yield places.problem((*path, "payload_hex"), "there is a `payload` already", at_key=True)
    for index, step in enumerate(items(check.get("steps"))):
        if isinstance(step, Mapping) and len([key for key in step.entries if key in STEP_KEYS]) != 1:
            message = f"a step has one of the keys {', '.join(STEP_KEYS)}"
            yield places.problem((*path, "steps", index), message)


def repeated_cpus(places: Places) -> Found:
    workers = places.root.get("workers")
    cpus = workers.get("cpus") if isinstance(workers, Mapping) else None
    seen = set()
    for index, node in enumerate(items(cpus)):
        value = node.value if isinstance(node, Scalar) else None
        if value is not None and value in seen:
            yield places.problem(("workers", "cpus", index), f"CPU {value} is in the list already")
        seen.add(value)
