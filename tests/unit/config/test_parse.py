"""Text -> lb.model: every key, every short form, `defaults`, warnings."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lb.config import ConfigError, Loaded, parse
from lb.model.address import Address
from lb.model.check import Check, HttpRequest
from lb.model.config import AdminPlane, Config, Log, Shutdown, Workers
from lb.model.endpoint import Admin, Endpoint
from lb.model.listener import Keepalive, Listener, TcpOptions, Timeouts
from lb.model.pool import ConnectRule, Policy, Pool

EXAMPLES = Path(__file__).parents[3] / "config"

A, B = Address("10.0.0.1", 80), Address("10.0.0.2", 80)
WEB = Listener("web", (Address("127.0.0.1", 8080),), "web")
SMALL = Config((WEB,), (Pool("web", (Endpoint("10.0.0.1:80", A),)),))


def text(
    *,
    top: str = "",
    listener: str = "bind: 127.0.0.1:8080, pool: web",
    pool: str = "endpoints: [10.0.0.1:80]",
) -> str:
    return f"{top}\nlisteners: {{web: {{{listener}}}}}\npools:\n  web: {{{pool}}}\n"


def config(**parts: str) -> Config:
    return read(text(**parts)).config


def read(source: str) -> Loaded:
    return parse(source, file="lb.yaml")


def test_smallest_file_holds_the_defaults_of_the_model() -> None:
    assert config() == SMALL


def test_example_that_is_smallest_runs() -> None:
    loaded = read((EXAMPLES / "lb.yaml").read_text())
    web = Listener("web", (Address("0.0.0.0", 8080),), "web")
    pool = Pool("web", (Endpoint("10.0.0.1:80", A), Endpoint("10.0.0.2:80", B)), check=Check())
    assert (loaded.config, loaded.warnings) == (Config((web,), (pool,)), ())


def test_example_with_every_key_holds_the_defaults() -> None:
    loaded = read((EXAMPLES / "full.yaml").read_text())
    binds = (Address("0.0.0.0", 8080), Address("::", 8080))
    second = Endpoint("[2001:db8::2]:80", Address("2001:db8::2", 80))
    pool = Pool("web", (Endpoint("10.0.0.1:80", A), second), check=Check(http=HttpRequest()))
    assert loaded.config == Config((Listener("web", binds, "web"),), (pool,))
    assert loaded.warnings == ()


def test_every_key_reaches_the_model() -> None:
    found = config(
        top="""
version: 1
workers: {count: 4, cpus: [0, 2]}
sessions_max: 5000
user: nobody
runtime_dir: /tmp/lb
shutdown: {pre_drain: 1s, drain: 2s, orphan: 3s}
admin: {bind: "[::1]:0", socket: /tmp/lb.sock}
log: {level: debug, format: json, access: /var/log/lb}
""",
        listener="""bind: ["127.0.0.1:0", "[::]:443"], pool: web, protocol: tcp, sessions_max: 7,
            timeouts: {idle: 1h, half_close: 0s, reset_linger: 1500ms},
            tcp: {backlog: 10, keepalive: {idle: 1m, interval: 5s, count: 9}}""",
        pool="""policy: least_connections, drain: 5m, on_down: {close_after: 30s},
            connect: {timeout: 1s, attempts_max: 2},
            endpoints: [{name: b, address: "10.0.0.2:80", weight: 0, sessions_max: 9, admin: maint}],
            check: {type: http, interval: 2s, interval_changing: 1s, interval_down: 5s, timeout: 3s,
                    rise: 3, fall: 1, jitter: 0%, port: 81, address: "::1", initial: unknown, path: /up,
                    host: web, method: HEAD, headers: {X-A: "1", X-B: b}, status: [200-204, 404]}""",
    )
    http = HttpRequest("/up", "web", "HEAD", (("X-A", "1"), ("X-B", "b")), ((200, 204), (404, 404)))
    check = Check(http, 2.0, 1.0, 5.0, 3.0, 3, 1, 0, 81, "::1", False)
    endpoint = Endpoint("b", B, 0, 9, Admin.MAINT)
    assert found == Config(
        listeners=(
            Listener(
                "web", (Address("127.0.0.1", 0), Address("::", 443)), "web", 7,
                Timeouts(3600.0, 0.0, 1.5), TcpOptions(10, Keepalive(60, 5, 9)),
            ),
        ),
        pools=(Pool("web", (endpoint,), Policy.LEAST_CONNECTIONS, check, ConnectRule(1.0, 2), 300.0, 30.0),),
        workers=Workers(4, (0, 2)),
        sessions_max=5000,
        user="nobody",
        runtime_dir="/tmp/lb",
        shutdown=Shutdown(1.0, 2.0, 3.0),
        admin=AdminPlane(Address("::1", 0), "/tmp/lb.sock"),
        log=Log("debug", "json", "/var/log/lb"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("top", "part", "value"),
    [
        ("workers: 2", "workers", Workers(2)),
        ("workers: auto", "workers", Workers()),
        ("workers: {cpus: [3]}", "workers", Workers(cpus=(3,))),
        ("workers:", "workers", Workers()),
        ("sessions_max: auto", "sessions_max", None),
        ("user: 1000", "user", "1000"),
        ("admin: {bind: off}", "admin", AdminPlane(bind=None)),
        ("admin: {bind: 127.9.9.9:0}", "admin", AdminPlane(Address("127.9.9.9", 0))),
        ("log: {access: off}", "log", Log(access="off")),
    ],
)
def test_short_form_at_the_top_is_read(top: str, part: str, value: Any) -> None:
    assert config(top=top) == replace(SMALL, **{part: value})


@pytest.mark.parametrize(
    ("pool", "part", "value"),
    [
        ("on_down: keep", "close_after_s", None),
        ("on_down: close", "close_after_s", 0.0),
        ("on_down: {close_after: 1m}", "close_after_s", 60.0),
        ("check: null", "check", None),
        ("check: {type: tcp}", "check", Check()),
        ("check: {type: http, status: 204}", "check", Check(http=HttpRequest(status=((204, 204),)))),
        ("connect: ", "connect", ConnectRule()),
    ],
)
def test_short_form_in_a_pool_is_read(pool: str, part: str, value: Any) -> None:
    assert getattr(config(pool=f"endpoints: [10.0.0.1:80], {pool}").pools[0], part) == value


@pytest.mark.parametrize(
    ("written", "keepalive"),
    [("off", None), ("", Keepalive()), ("{count: 5}", Keepalive(count=5))],
)
def test_keepalive_is_off_or_a_mapping(written: str, keepalive: Keepalive | None) -> None:
    found = config(listener=f"bind: 127.0.0.1:8080, pool: web, tcp: {{keepalive: {written}}}")
    assert found.listeners[0].tcp.keepalive == keepalive


def test_names_that_look_like_numbers_are_names() -> None:
    found = read(
        "listeners: {1: {bind: 127.0.0.1:1, pool: 2}}\n"
        "pools: {2: {endpoints: [{name: 3, address: 10.0.0.1:1}]}}\n"
    )
    assert (found.config.listeners[0].name, found.config.pools[0].endpoints[0].name) == ("1", "3")


def test_one_address_under_two_names_is_fine() -> None:
    found = config(
        pool="endpoints: [{name: a, address: 10.0.0.1:80}, {name: b, address: 10.0.0.1:80}, 10.0.0.1:80]"
    )
    assert [endpoint.name for endpoint in found.pools[0].endpoints] == ["a", "b", "10.0.0.1:80"]


def test_timeout_of_a_check_longer_than_its_interval_is_fine() -> None:
    check = (
        config(pool="endpoints: [10.0.0.1:80], check: {type: tcp, interval: 1s, timeout: 5s}").pools[0].check
    )
    assert check
    assert check.timeout_s == 5.0


@pytest.mark.parametrize(
    ("source", "warning"),
    [
        ("listeners: {}\npools: {}\n", "lb.yaml:1:1: listeners: without a listener nothing is served"),
        (text(pool="endpoints: []"), "lb.yaml:4:3: pools.web: a pool without endpoints ends every session"),
        (text() + "  b: {endpoints: [10.0.0.1:1]}\n", "lb.yaml:5:3: pools.b: no listener uses this pool"),
    ],
)
def test_file_that_is_fine_but_odd_is_warned_about(source: str, warning: str) -> None:
    assert list(map(str, read(source).warnings)) == [warning]


def test_problem_of_an_alias_is_told_where_it_is_written() -> None:
    with pytest.raises(ConfigError) as refused:
        read(
            "listeners:\n  a: &a\n    bind: 127.0.0.1:1\n    pool: web\n    polcy: 1\n"
            "  b: *a\npools: {web: {endpoints: [10.0.0.1:1]}}\n"
        )
    assert list(map(str, refused.value.problems)) == [
        "lb.yaml:3:11: listeners.b.bind: 127.0.0.1:1 is taken: listeners.a.bind has the same address",
        "lb.yaml:5:5: listeners.a.polcy: unknown key; did you mean `pool`?",
    ]


def test_thousand_endpoints_are_read_in_well_under_200_ms() -> None:
    members = "\n".join(
        f"      - {{name: n{i}, address: 10.0.{i // 250}.{i % 250}:80, weight: 2}}" for i in range(1000)
    )
    source = (
        f"listeners: {{web: {{bind: 127.0.0.1:1, pool: web}}}}\npools:\n  web:\n    endpoints:\n{members}\n"
    )
    took_s = []
    for _ in range(5):
        start = time.perf_counter()
        assert len(read(source).config.pools[0].endpoints) == 1000
        took_s.append(time.perf_counter() - start)
    assert min(took_s) < 0.2
