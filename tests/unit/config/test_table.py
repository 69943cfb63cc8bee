"""The table of every key."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from lb.config import apply_kept
from lb.config.table import RESTART, TOUCHES, Row, markdown, rows
from lb.model.address import Address
from lb.model.config import AdminPlane, Config, Log, Shutdown, Workers
from tests.unit.config.test_schema import FileSection, keys_of

TABLE = {row.key: row for row in rows()}


def in_the_table(path: tuple[str, ...]) -> str:
    """A path of the schema, as the table calls it."""
    text = ""
    for before, part in zip(("", *path), path, strict=False):
        text += ("[]" if before in ("endpoints", "steps") else ".NAME") if part == "*" else f".{part}"
    return text.removeprefix(".").removesuffix(".NAME").removesuffix("[]")


def test_table_has_every_key_once() -> None:
    keys = [in_the_table(path) for path in keys_of(FileSection)]
    assert sorted(row.key for row in rows()) == sorted(keys)
    assert len(keys) > 100


def test_every_row_says_what_its_key_is_and_may_be() -> None:
    silent = [row.key for row in rows() if not (row.range and row.touches and row.about)]
    assert not silent


@pytest.mark.parametrize(
    ("key", "default", "range", "unit"),
    [
        ("workers", "", "keys below", ""),
        ("workers.count", "auto", "auto; 1 to 64", "workers"),
        ("listeners", None, "keys below", ""),
        ("listeners.NAME.timeouts.idle", "10m", "10ms to 20d", "ms, s, m, h, d"),
        ("listeners.NAME.allow", "null", "{file: path}; a list: ADDRESS/BITS, ADDRESS, or unix:; null", ""),
        ("listeners.NAME.accept_proxy.from.file", None, "a path", ""),
        ("listeners.NAME.upload_max", "0", "0 to 1TiB", "bytes per second; B, KiB, MiB, GiB, TiB"),
        ("listeners.NAME.tcp.keepalive", "", "off; keys below", ""),
        ("listeners.NAME.dry_run", "false", "true, false", ""),
        ("pools.NAME.endpoints[].admin", "ready", "ready, drain, maint", ""),
        ("pools.NAME.hash.table", "65537", "a prime number, 101 to 5000011", "slots"),
        ("pools.NAME.hash.key", '""', "a text of up to 255 characters", ""),
        ("pools.NAME.check.jitter", "20%", "0% to 50%", "%"),
        ("pools.NAME.check.headers", "{}", "a value of a header (visible ASCII)", ""),
        ("pools.NAME.check.status", "[200-399]", "a list: 100 to 599, or a range of them", ""),
        ("pools.NAME.on_down", "keep", "keep; close; keys below", ""),
    ],
)
def test_row_is_written_as_in_a_file(key: str, default: str | None, range: str, unit: str) -> None:
    assert TABLE[key][1:4] == (default, range, unit)


def test_everything_that_is_touched_has_a_key() -> None:
    assert TOUCHES.keys() <= TABLE.keys() | {"listeners.NAME", "pools.NAME"}


OTHER = Config(
    (),
    (),
    workers=Workers(2, (1,)),
    sessions_max=5,
    user="other",
    runtime_dir="/other",
    shutdown=Shutdown(1.0, 2.0, 3.0),
    admin=AdminPlane(Address("127.0.0.1", 1), "/other"),
    log=Log("debug", "json", "off", 5),
)


@pytest.mark.parametrize("row", [row for row in rows() if not row.key.startswith(("listeners", "pools"))])
def test_key_that_touches_nothing_before_a_restart_is_one_that_is_kept(row: Row) -> None:
    if row.range == "keys below" or row.key in ("version", "defaults", "allow_exec"):
        return
    kept = apply_kept(Config((), ()), OTHER)
    is_kept = value_at(kept, row.key) == value_at(Config((), ()), row.key)
    assert is_kept == (row.touches == RESTART)


def value_at(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = getattr(value, part, None) if hasattr(value, part) else getattr(value, f"{part}_s")
    return value


def test_other_configuration_differs_in_every_setting() -> None:
    default = Config((), ())
    assert replace(OTHER, listeners=(), pools=()) != default
    for row in rows():
        if not row.key.startswith(("listeners", "pools", "version", "defaults", "allow_exec")):
            assert value_at(OTHER, row.key) != value_at(default, row.key), row.key


def test_markdown_is_one_table() -> None:
    lines = markdown().splitlines()
    assert len(lines) == len(TABLE) + 2
    assert {line.replace("\\|", "").count("|") for line in lines} == {7}
