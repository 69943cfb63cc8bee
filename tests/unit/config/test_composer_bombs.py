"""Text made to exhaust lb is refused in less than a second, and with less than 64 MiB.

Each bomb goes off in a child process, whose peak of memory is its own. The slowest take about half of either.
"""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

import pytest

from lb.config import ConfigError, parse

SECONDS_MAX = 1.0
SLOW_MACHINE = 3  # tests share the cores of their processors with others
MIB_MAX = 64

ENVIRONMENT = {"LONG": "y" * 100_000, "FITS": "z" * 16_000}
HEAD = "listeners: {a: {bind: 1.2.3.4:5, pool: a}}\npools: {a: {endpoints: ["


def members(count: int, each: str) -> str:
    return "{" + ", ".join(f"m{i}: {each}" for i in range(count)) + "}"


BOMBS: dict[str, Callable[[], str]] = {
    "deep_sequences": lambda: "[" * 100_000,
    "deep_mappings": lambda: "a: " + "{a: " * 100_000,
    "deep_dashes": lambda: "- " * 1_000_000,
    "billion_laughs": lambda: (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30))
    ),
    "chain_of_aliases": lambda: (
        "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100_000))
    ),
    "two_million_items": lambda: "a: [" + "a," * 2_000_000,
    "unknown_keys": lambda: "".join(f"k{i}: 1\n" for i in range(74_000)),
    "duplicate_keys": lambda: "k: 1\n" * 400_000,
    "tags": lambda: "a:\n" + "- !t x\n" * 400_000,
    "anchors": lambda: "a:\n" + "".join(f"- &a{i} x\n" for i in range(149_000)),
    "scalar": lambda: "a: " + "x" * 4_000_000,
    "scalar_of_wide_characters": lambda: "a: " + "\U0001f600" * 4_000_000,
    "key": lambda: "x" * 4_000_000 + ": 1",
    "escapes": lambda: 'a: "' + "\\x41" * 1_000_000 + '"',
    "larger_than_a_file_may_be": lambda: "#" * 50_000_000,
    "long_values_from_the_environment": lambda: "\n".join(f"a{i}: ${{LONG}}" for i in range(70_000)),
    "much_from_the_environment": lambda: "\n".join(f"a{i}: ${{FITS}}" for i in range(70_000)),
    "defaults_under_each_pool": lambda: (
        "defaults: {endpoints: [" + "1.2.3.4:5, " * 16_000 + "]}\npools: " + members(4000, "{}")
    ),
    "too_many_listeners": lambda: "listeners: " + members(40_000, "{}"),
    "too_many_endpoints": lambda: HEAD + "1.2.3.4:5, " * 140_000 + "]}}",
    "wrong_endpoints": lambda: HEAD + "{nae: a, adress: b, weight: 999}, " * 16_384 + "]}}",
    "wrong_statuses": lambda: "pools: " + members(140, "{check: {status: [" + "x," * 1000 + "]}}"),
    "wrong_cpus": lambda: "workers: {cpus: [" + "-1, " * 149_000 + "]}",
    "wrong_networks": lambda: "listeners: {a: {deny: [" + "10.0.0.1/8, " * 16_384 + "]}}",
    "networks": lambda: "listeners: {a: {deny: [" + '"2001:db8::/32", ' * 16_384 + "]}}",
    "too_many_networks": lambda: "listeners: {a: {deny: [" + '"2001:db8::/32", ' * 140_000 + "]}}",
    "tables": lambda: "pools: " + members(4000, "{endpoints: [], hash: {table: 5000011}, polcy: 1}"),
    "tables_before_a_prime": lambda: "pools: " + members(4000, "{hash: {table: 4652354}}"),
    "ranges": lambda: "listeners: {a: {bind: [" + '"10.0.0.1:1-4096", ' * 140_000 + "]}}",
    "ranges_that_overlap": lambda: "listeners: {a: {bind: [" + '"10.0.0.1:1-1000", ' * 4 + "]}}",
    "ranges_under_each_listener": lambda: (
        'defaults: {bind: "10.0.0.1:1-4096"}\nlisteners: ' + members(1000, "{}")
    ),
    "ports_of_many_hosts": lambda: (
        "listeners: {a: {bind: ["
        + "".join(f"10.0.{i >> 8}.{i & 255}:80, " for i in range(2048))
        + "0.0.0.0:80, " * 2048
        + "]}}"
    ),
    "paths": lambda: "listeners: {a: {bind: [" + '"unix:/a//./b", ' * 4096 + "]}}",
    "lists": lambda: "listeners: " + members(1000, "{deny: {file: a}, allow: {file: b}}"),
    "documents": lambda: "--- a\n" * 600_000,
    "directives": lambda: "%TAG !a! b\n" * 300_000,
}


def set_off(name: str, answer: Connection) -> None:
    text = BOMBS[name]()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start_s = time.process_time()  # what others do meanwhile does not count
    refused = False
    try:
        parse(text, file="lb.yaml", environment=ENVIRONMENT)
    except ConfigError as error:
        refused = 0 < len(str(error)) < 100_000
    took_s = time.process_time() - start_s
    answer.send((refused, took_s, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", BOMBS)
def test_bomb_is_refused_quickly_and_in_little_memory(name: str) -> None:
    ours, theirs = multiprocessing.Pipe()
    child = multiprocessing.get_context("fork").Process(target=set_off, args=(name, theirs))
    child.start()
    theirs.close()
    refused, took_s, mib = ours.recv()
    child.join()
    assert refused
    assert took_s < SECONDS_MAX * SLOW_MACHINE
    assert mib < MIB_MAX
