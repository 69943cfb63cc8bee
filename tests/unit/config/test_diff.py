"""What differs between two configurations."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from lb.config import apply_kept, diff, parse
from lb.config.check_section import CheckSection
from lb.config.diff import key_of
from lb.config.listener_section import ListenerSection, TimeoutsSection
from lb.config.pool_section import ConnectSection, EndpointSection, HashSection, PoolSection, QueueSection
from lb.config.schema import AdminSection, FileSection, LogSection, ShutdownSection, WorkersSection
from lb.config.section import Section
from lb.config.socket_section import KeepaliveSection, TcpSection, UnixSection
from lb.model.check import Check
from lb.model.config import AdminPlane, Config, Log, Shutdown, Workers
from lb.model.endpoint import Endpoint
from lb.model.listener import Keepalive, Listener, TcpOptions, Timeouts, UnixSocket
from lb.model.pool import ConnectRule, HashRule, Pool, QueueRule

SECTIONS: dict[type[Section], type] = {
    AdminSection: AdminPlane,
    CheckSection: Check,
    ConnectSection: ConnectRule,
    EndpointSection: Endpoint,
    FileSection: Config,
    HashSection: HashRule,
    KeepaliveSection: Keepalive,
    ListenerSection: Listener,
    LogSection: Log,
    PoolSection: Pool,
    QueueSection: QueueRule,
    ShutdownSection: Shutdown,
    TcpSection: TcpOptions,
    TimeoutsSection: Timeouts,
    UnixSection: UnixSocket,
    WorkersSection: Workers,
}

TEXT = """
listeners:
  web: {bind: 127.0.0.1:1, pool: web}
  api: {bind: 127.0.0.1:2, pool: api}
pools:
  web: {endpoints: [{name: a, address: 10.0.0.1:80}, {name: b, address: 10.0.0.2:80}], check: {type: tcp}}
  api: {endpoints: [{name: a, address: 10.0.0.1:80}], check: {type: http}}
"""


def read(text: str) -> Config:
    return parse(text, file="lb.yaml").config


def changes(*replacements: tuple[str, str], top: str = "") -> list[str]:
    new = TEXT
    for old_part, new_part in replacements:
        assert old_part in new
        new = new.replace(old_part, new_part)
    return list(map(str, diff(read(TEXT), read(new + top)).changes))


def test_same_configuration_has_no_changes() -> None:
    assert not diff(read(TEXT), read(TEXT + "# another comment\n"))


@pytest.mark.parametrize(
    ("replacement", "change"),
    [
        (("127.0.0.1:2, pool: api", "[127.0.0.1:2, 127.0.0.1:3], pool: api"), "listener api changed: bind"),
        (("127.0.0.1:2, pool: api", "127.0.0.1:2, pool: web"), "listener api changed: pool"),
        (("pool: api}", "pool: api, timeouts: {idle: 1h}}"), "listener api changed: timeouts.idle"),
        (("pool: api}", "pool: api, tcp: {keepalive: off}}"), "listener api changed: tcp.keepalive"),
        (
            ("pool: api}", "pool: api, tcp: {keepalive: {count: 9}}}"),
            "listener api changed: tcp.keepalive.count",
        ),
        (("{type: http}", "{type: http}, policy: least_connections"), "pool api changed: policy"),
        (("{type: http}", "{type: http}, on_down: close"), "pool api changed: on_down"),
        (("{type: http}", "{type: http}, drain: 5m"), "pool api changed: drain"),
        (
            ("{type: http}", "{type: http}, connect: {attempts_max: 1}"),
            "pool api changed: connect.attempts_max",
        ),
        (("pool: api}", "pool: api, allow: [10.0.0.0/8]}"), "listener api changed: allow"),
        (
            ("pool: api}", "pool: api, deny: 10.0.0.1, rate_max: 5}"),
            "listener api changed: deny, rate_max",
        ),
        (("pool: api}", "pool: api, accept_proxy: {from: 10.0.0.1}}"), "listener api changed: accept_proxy"),
        (("pool: api}", "pool: api, session_age_max: 1h}"), "listener api changed: session_age_max"),
        (
            ("pool: api}", "pool: api, sessions_max_per_source: 5}"),
            "listener api changed: sessions_max_per_source",
        ),
        (
            ("pool: api}", 'pool: api, tcp: {user_timeout: 1s, mss: 1400}, unix: {mode: "0660"}}'),
            "listener api changed: tcp.user_timeout, tcp.mss, unix.mode",
        ),
        (
            ("{type: http}", "{type: http}, connect: {retry_budget_percent: 5, source: 10.0.0.9}"),
            "pool api changed: connect.retry_budget_percent, connect.source",
        ),
        (
            (
                "{type: http}",
                "{type: http}, queue: {max: 1, timeout: 1s}, hash: {bound_percent: 125, key: a}",
            ),
            "pool api changed: queue.max, queue.timeout, hash.bound_percent, hash.key",
        ),
        (("{type: http}", "{type: http}, send_proxy: v2"), "pool api changed: check.send_proxy, send_proxy"),
        (
            ("name: b, address: 10.0.0.2:80", 'name: b, address: "unix:/run/b.sock"'),
            "endpoint web/b changed: address",
        ),
        (("{type: http}", "null"), "pool api changed: check"),
        (("{type: http}", "{type: tcp}"), "pool api changed: check.type"),
        (
            ("{type: http}", "{type: http, path: /up, jitter: 0%}"),
            "pool api changed: check.path, check.jitter",
        ),
        (("{type: http}", "{type: http, initial: unknown}"), "pool api changed: check.initial"),
        (
            ("name: b, address: 10.0.0.2:80", "name: b, address: 10.0.0.3:80"),
            "endpoint web/b changed: address",
        ),
        (("name: b,", "name: b, weight: 2, admin: drain,"), "endpoint web/b changed: weight, admin"),
    ],
)
def test_change_is_told_in_the_words_of_the_file(replacement: tuple[str, str], change: str) -> None:
    assert changes(replacement) == [change]


def test_order_in_the_file_means_nothing() -> None:
    assert not diff(
        read(TEXT), replace(read(TEXT), listeners=read(TEXT).listeners[::-1], pools=read(TEXT).pools[::-1])
    )


def test_what_others_need_comes_first_and_goes_last() -> None:
    new = """
listeners:
  web: {bind: 127.0.0.1:1, pool: db}
  db: {bind: 127.0.0.1:5, pool: db}
pools:
  web: {endpoints: [{name: c, address: 10.0.0.3:80}, {name: b, address: 10.0.0.2:80}], check: {type: tcp}}
  db: {endpoints: [{name: a, address: 10.0.0.9:80}]}
"""
    assert list(map(str, diff(read(TEXT), read(new)).changes)) == [
        "pool db added",
        "endpoint web/c added",
        "endpoint db/a added",
        "listener web changed: pool",
        "listener db added",
        "listener api removed",
        "endpoint web/a removed",
        "pool api removed",
    ]


def test_settings_that_a_reload_can_change_are_changes() -> None:
    top = "log: {level: debug, format: json, access_rate_max: 9}\nshutdown: {drain: 1m}\n"
    assert changes(top=top) == [
        "settings changed: shutdown.drain, log.level, log.format, log.access_rate_max"
    ]


def test_address_in_place_of_another_is_told_as_one_key() -> None:
    old = TEXT.replace("10.0.0.2:80", '"unix:/run/b.sock"')
    new = TEXT.replace("10.0.0.2:80", '"unix:/run/c.sock"')
    assert list(map(str, diff(read(old), read(new)).changes)) == ["endpoint web/b changed: address"]


def test_every_field_of_the_model_is_called_by_a_key_of_the_file() -> None:
    for section, model in SECTIONS.items():
        keys = set(section.fields())
        for field in dataclasses.fields(model):
            assert key_of(field.name) in keys | {"name", "type"}, f"{model.__name__}.{field.name}"


@pytest.mark.parametrize(
    ("top", "key"),
    [
        ("workers: 3", "workers.count"),
        ("workers: {cpus: [0]}", "workers.cpus"),
        ("sessions_max: 100", "sessions_max"),
        ("user: nobody", "user"),
        ("runtime_dir: /tmp/lb", "runtime_dir"),
        ("admin: {bind: off}", "admin.bind"),
        ("admin: {bind: 127.0.0.1:9999}", "admin.bind"),
        ("admin: {socket: /tmp/lb.sock}", "admin.socket"),
        ("log: {access: off}", "log.access"),
        ("shutdown: {orphan: 1m}", "shutdown.orphan"),
    ],
)
def test_key_that_takes_a_restart_is_warned_about_and_kept(top: str, key: str) -> None:
    old, new = read(TEXT), read(f"{top}{TEXT}")
    found = diff(old, new, file="lb.yaml")
    assert found.changes == ()
    assert [(warning.file, warning.path) for warning in found.warnings] == [("lb.yaml", key)]
    assert "restart" in str(found.warnings[0])
    assert apply_kept(old, new) == old


def test_what_is_kept_leaves_the_rest_new() -> None:
    old, new = (
        read(TEXT),
        read(TEXT.replace("pool: api}", "pool: web}") + "workers: 3\nlog: {level: debug}\n"),
    )
    kept = apply_kept(old, new)
    assert kept == replace(new, workers=old.workers)
    assert not diff(old, kept).warnings
