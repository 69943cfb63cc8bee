"""`defaults:` under every listener and pool."""

from __future__ import annotations

import pytest

from lb.config import parse
from lb.model.check import Check, Checks, HttpRequest
from lb.model.listener import Keepalive, TcpOptions, Timeouts
from lb.model.networks import Networks
from lb.model.pool import Pool


def pools(defaults: str, *own: str) -> tuple[Pool, ...]:
    """Pools that say `own` of themselves, under `defaults`."""
    each = "".join(f"  p{index}: {{endpoints: [10.0.0.1:80]{said}}}\n" for index, said in enumerate(own))
    source = f"defaults: {{{defaults}}}\nlisteners: {{web: {{bind: 127.0.0.1:1, pool: p0}}}}\npools:\n{each}"
    return parse(source, file="lb.yaml").config.pools


def test_key_of_defaults_holds_where_nothing_else_is_said() -> None:
    assert [pool.drain_s for pool in pools("drain: 5m", "", ", drain: 1m")] == [300.0, 60.0]


def test_mapping_is_completed_key_by_key() -> None:
    source = """
defaults: {timeouts: {idle: 1h, half_close: 1m}, tcp: {keepalive: {idle: 1m}}}
listeners:
  a: {bind: 127.0.0.1:1, pool: web, timeouts: {half_close: 5s}, tcp: {keepalive: {count: 9}}}
  b: {bind: 127.0.0.1:2, pool: web, timeouts: , tcp: {keepalive: off}}
pools: {web: {endpoints: [10.0.0.1:80]}}
"""
    a, b = parse(source, file="lb.yaml").config.listeners
    assert a.timeouts == Timeouts(idle_s=3600.0, half_close_s=5.0)
    assert b.timeouts == Timeouts(idle_s=3600.0, half_close_s=60.0)
    assert (a.tcp, b.tcp) == (TcpOptions(keepalive=Keepalive(60, 3, 9)), TcpOptions(keepalive=None))


def test_list_is_replaced_not_joined() -> None:
    source = """
defaults: {pool: web, endpoints: [10.0.0.1:80, 10.0.0.2:80]}
listeners: {web: {bind: 127.0.0.1:1}, other: {bind: 127.0.0.1:2, pool: other}}
pools:
  web:
  other: {endpoints: [10.0.0.3:80]}
"""
    config = parse(source, file="lb.yaml").config
    assert [listener.pool for listener in config.listeners] == ["web", "other"]
    assert [len(pool.endpoints) for pool in config.pools] == [2, 1]


@pytest.mark.parametrize("key", ["allow", "deny"])
@pytest.mark.parametrize("form", ["[10.0.0.0/8]", "10.0.0.0/8"])
def test_null_takes_the_list_of_defaults_away(key: str, form: str) -> None:
    source = f"""
defaults: {{{key}: {form}, accept_proxy: {{from: {form}}}}}
listeners:
  a: {{bind: 127.0.0.1:1, pool: web}}
  b: {{bind: 127.0.0.1:2, pool: web, {key}: null, accept_proxy: null}}
  c: {{bind: 127.0.0.1:3, pool: web, {key}: ["unix:"]}}
pools: {{web: {{endpoints: [10.0.0.1:80]}}}}
"""
    of_defaults, none, unix = Networks.parse(["10.0.0.0/8"]), None, Networks(unix=True)
    listeners = parse(source, file="lb.yaml").config.listeners
    assert [getattr(listener, key) for listener in listeners] == [of_defaults, none, unix]
    assert [listener.accept_proxy for listener in listeners] == [of_defaults, none, of_defaults]


@pytest.mark.parametrize(
    ("defaults", "own", "check"),
    [
        ("type: tcp, rise: 5", "", Check(rise=5)),
        ("type: tcp, rise: 5", ", check: null", None),
        ("type: tcp, rise: 5", ", check: {type: tcp, fall: 7}", Check(rise=5, fall=7)),
        ("type: tcp, rise: 5", ", check: {type: http}", Check(HttpRequest())),
        ("type: http, path: /up", ", check: {type: tcp}", Check()),
        ("rise: 5", "", None),
        ("rise: 5", ", check: {type: tcp}", Check(rise=5)),
        ("rise: 5, path: /up", ", check: {type: http}", Check(HttpRequest(path="/up"), rise=5)),
        ("rise: 5, path: /up", ", check: {type: tcp}", Check(rise=5)),
        ("all: [{type: tcp, rise: 5}]", "", Checks((Check(rise=5),))),
        ("all: [{type: tcp, rise: 5}]", ", check: {type: tcp}", Check()),
        (
            "rise: 5, path: /up",
            ", check: {any: [{type: http, fall: 1}, {type: tcp}]}",
            Checks((Check(HttpRequest(path="/up"), rise=5, fall=1), Check(rise=5)), any_suffices=True),
        ),
    ],
)
def test_check_is_completed_by_one_that_concerns_it(
    defaults: str, own: str, check: Check | Checks | None
) -> None:
    assert pools(f"check: {{{defaults}}}", own)[0].check == check
