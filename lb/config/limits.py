"""How much a configuration may hold. What is too large is refused before anybody looks at it more closely."""

from __future__ import annotations

from collections.abc import Iterator

from lb.config.addresses import BINDS_MAX
from lb.config.composer import NODES_MAX
from lb.config.places import Places
from lb.config.problem import Problem
from lb.config.reading import count_binds, items, members
from lb.config.schema import CPUS_MAX
from lb.config.tree import Mapping

# What is written into the file itself, counted in each listener it is for; a file of its own holds more.
NETWORKS_MAX = 16384

# As many as a snapshot has ids for.
LISTENERS_MAX = 1024
POOLS_MAX = 4096
ENDPOINTS_MAX = 16384


def excess(places: Places) -> Iterator[Problem]:
    listeners, pools = members(places.root, "listeners"), members(places.root, "pools")
    sections = [section for _, section in (*listeners, *pools)]
    if isinstance(defaults := places.root.get("defaults"), Mapping):
        sections.append(defaults)
    binds = sum(count_binds(node) for section in sections for node in items(section.get("bind")))
    endpoints = sum(len(items(section.get("endpoints"))) for section in sections)
    networks = sum(count_networks(section) for section in sections)
    workers = places.root.get("workers")
    cpus = items(workers.get("cpus")) if isinstance(workers, Mapping) else []
    for key, noun, count, most in (
        ("workers", "CPUs", len(cpus), CPUS_MAX),
        ("listeners", "listeners", len(listeners), LISTENERS_MAX),
        ("listeners", "addresses", binds, BINDS_MAX),
        ("listeners", "networks", networks, NETWORKS_MAX),
        ("pools", "pools", len(pools), POOLS_MAX),
        ("pools", "endpoints", endpoints, ENDPOINTS_MAX),
    ):
        if count > most:
            hint = "put them into a file: `{file: path}`" if noun == "networks" else None
            yield places.problem((key,), f"{count} {noun}; at most {most}", hint, at_key=True)
    if places.root.size > NODES_MAX:
        message = f"more than {NODES_MAX} values, counted in each listener and pool they are for"
        yield places.problem(("defaults",), message, at_key=True)


def count_networks(section: Mapping) -> int:
    by_proxy = section.get("accept_proxy")
    proxies = by_proxy.get("from") if isinstance(by_proxy, Mapping) else None
    return sum(len(items(node)) for node in (section.get("allow"), section.get("deny"), proxies))
