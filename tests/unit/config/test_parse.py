"""Text -> lb.model: every key, every short form, `defaults`, warnings."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lb.config import ConfigError, Loaded, parse
from lb.model.address import Address, SocketAddress, UnixAddress
from lb.model.check import (
    AgentQuery,
    Check,
    Checks,
    Datagram,
    Dialog,
    DnsQuery,
    Expect,
    ExpectPattern,
    GrpcHealth,
    HttpRequest,
    MysqlLogin,
    PostgresLogin,
    Program,
    RedisPing,
    Send,
    SmtpGreeting,
    TlsRule,
)
from lb.model.config import AdminPlane, Config, Log, Shutdown, Workers
from lb.model.endpoint import Admin, Endpoint
from lb.model.listener import Keepalive, Listener, RefuseBy, TcpOptions, Timeouts, UnixSocket
from lb.model.networks import Networks
from lb.model.pool import ConnectRule, HashOn, HashRule, Policy, Pool, QueueRule
from lb.model.proxy import ProxyVersion

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
    ports = (Address("127.0.0.1", port) for port in range(8100, 8110))
    wildcards = (Address("0.0.0.0", 8080), Address("::", 8080))
    binds: tuple[SocketAddress, ...] = (*wildcards, *ports, UnixAddress("/run/lb/web.sock"))
    second = Endpoint("[2001:db8::2]:80", Address("2001:db8::2", 80))
    web = Pool("web", (Endpoint("10.0.0.1:80", A), second), check=Check(HttpRequest(), TlsRule()))
    steps = (
        Send(b"PING\r\n"),
        Expect(b"PONG"),
        Send(b"INFO\r\n"),
        Expect(b"\r\n"),
        ExpectPattern("role:(master|slave)"),
    )
    redis = at("10.0.0.3", 6379)
    cache = Pool("cache", (redis,), check=Check(Dialog(steps)))
    names, syslog = at("10.0.0.4", 53), at("10.0.0.5", 514)
    arguments = ("-H", "{host}", "-p", "{port}", "-b", "dc=example")
    both = Checks((Check(HttpRequest()), Check(port=8443)))
    either = Checks((Check(), Check(port=990)), any_suffices=True)
    check_ldap = Program("/usr/lib/nagios/plugins/check_ldap", arguments)
    listeners = (
        Listener("web", binds, "web", accept_proxy=Networks.parse(["10.0.0.0/8"])),
        Listener("cache", (Address("0.0.0.0", 6379),), "cache"),
        Listener("names", (Address("0.0.0.0", 53),), "names"),
        Listener("syslog", (Address("0.0.0.0", 514),), "syslog"),
        Listener("rpc", (Address("0.0.0.0", 50051),), "rpc"),
        Listener("keys", (Address("0.0.0.0", 6380),), "keys"),
        Listener("orders", (Address("0.0.0.0", 5432),), "orders"),
        Listener("mail", (Address("0.0.0.0", 25),), "mail"),
        Listener("ldap", (Address("0.0.0.0", 389),), "ldap"),
        Listener("shop", (Address("0.0.0.0", 81),), "shop"),
        Listener("files", (Address("0.0.0.0", 21),), "files"),
        Listener("jobs", (Address("0.0.0.0", 7000),), "jobs"),
    )
    pools = (
        web,
        cache,
        Pool("names", (names,), check=Check(DnsQuery("example.com"))),
        Pool("syslog", (syslog,), check=Check(Datagram(b"hello"))),
        Pool("rpc", (at("10.0.0.6", 50051),), check=Check(GrpcHealth())),
        Pool("keys", (at("10.0.0.7", 6379),), check=Check(RedisPing())),
        Pool("orders", (at("10.0.0.8", 5432),), check=Check(PostgresLogin("lb"))),
        Pool("mail", (at("10.0.0.9", 25),), check=Check(SmtpGreeting())),
        Pool("ldap", (at("10.0.0.10", 389),), check=Check(check_ldap)),
        Pool("shop", (at("10.0.0.11", 80),), check=both),
        Pool("files", (at("10.0.0.12", 21),), check=either),
        Pool("jobs", (at("10.0.0.13", 7000),), check=Check(AgentQuery(), port=7001)),
    )
    assert loaded.config == Config(listeners, pools)
    assert loaded.warnings == ()


def test_program_runs_where_the_file_allows_it() -> None:
    pool = "endpoints: [10.0.0.1:80], check: {type: exec, program: /bin/x, arguments: [-H, '{host}']}"
    [read_pool] = config(top="allow_exec: true", pool=pool).pools
    assert read_pool.check == Check(Program("/bin/x", ("-H", "{host}")))


def at(host: str, port: int) -> Endpoint:
    return Endpoint(f"{host}:{port}", Address(host, port))


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
log: {level: debug, format: json, access: /var/log/lb, access_rate_max: 100}
""",
        listener="""bind: ["127.0.0.1:0", "[::]:443", "unix:/run/web.sock"], pool: web, protocol: tcp,
            allow: [10.0.0.0/8, "unix:"], deny: ["2001:db8::/32"], refuse_by: silence,
            accept_proxy: {from: 10.1.2.3}, sessions_max: 7, sessions_max_per_source: 6, rate_max: 5,
            rate_max_per_source: 4, upload_max: 10MiB, download_max: 1000, dry_run: true, session_age_max: 1d,
            timeouts: {routing: 3s, idle: 1h, half_close: 0s, reset_linger: 1500ms},
            tcp: {backlog: 10, keepalive: {idle: 1m, interval: 5s, count: 9}, user_timeout: 20s,
                  fast_open: true, defer_accept: true, interface: eth0, netns: blue, mark: 7, dscp: 46,
                  mss: 1400, congestion: bbr, freebind: true, transparent: true},
            unix: {mode: "0660", owner: www-data, group: 33}""",
        pool="""policy: maglev, drain: 5m, on_down: {close_after: 30s}, send_proxy: v2,
            hash: {on: sni, table: 5000011, bound_percent: 125, key: "s e c r e t"},
            queue: {max: 100, timeout: 1s},
            connect: {timeout: 1s, attempts_max: 2, retry_budget_percent: 50, source: [10.0.0.9, "::1"]},
            endpoints: [{name: b, address: "10.0.0.2:80", weight: 0, sessions_max: 9, admin: maint}],
            check: {type: http, interval: 2s, interval_changing: 1s, interval_down: 5s, timeout: 3s,
                    rise: 3, fall: 1, jitter: 0%, port: 81, address: "::1", initial: unknown,
                    send_proxy: v1, path: /up, host: web, method: HEAD, headers: {X-A: "1", X-B: b},
                    status: [200-204, 404], body: "^up", tls: true, sni: app.internal,
                    alpn: [h2, http/1.1], verify: /etc/ca.pem}""",
    )
    http = HttpRequest("/up", "web", "HEAD", (("X-A", "1"), ("X-B", "b")), ((200, 204), (404, 404)), "^up")
    tls = TlsRule("app.internal", ("h2", "http/1.1"), "/etc/ca.pem")
    check = Check(http, tls, 2.0, 1.0, 5.0, 3.0, 3, 1, 0, 81, "::1", False, ProxyVersion.V1)
    tcp = TcpOptions(
        10, Keepalive(60, 5, 9), 20.0, True, True, "eth0", "blue", 7, 46, 1400, "bbr", True, True
    )  # fmt: skip
    endpoint = Endpoint("b", B, 0, 9, Admin.MAINT)
    assert found == Config(
        listeners=(
            Listener(
                "web", (Address("127.0.0.1", 0), Address("::", 443), UnixAddress("/run/web.sock")), "web", 7,
                Timeouts(3.0, 3600.0, 0.0, 1.5), tcp, Networks.parse(["10.0.0.0/8", "unix:"]),
                Networks.parse(["2001:db8::/32"]), RefuseBy.SILENCE, Networks.parse(["10.1.2.3"]), 6, 5, 4,
                10 * 2**20, 1000, True, 86400.0, UnixSocket(0o660, "www-data", "33"),
            ),
        ),
        pools=(
            Pool(
                "web", (endpoint,), Policy.MAGLEV, check, ConnectRule(1.0, 2, 50, ("10.0.0.9", "::1")), 300.0,
                30.0, QueueRule(100, 1.0), HashRule(HashOn.SNI, 5000011, 125, "s e c r e t"), ProxyVersion.V2,
            ),
        ),
        workers=Workers(4, (0, 2)),
        sessions_max=5000,
        user="nobody",
        runtime_dir="/tmp/lb",
        shutdown=Shutdown(1.0, 2.0, 3.0),
        admin=AdminPlane(Address("::1", 0), "/tmp/lb.sock"),
        log=Log("debug", "json", "/var/log/lb", 100),
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
        ("check: {type: http, status: 204}", "check", Check(HttpRequest(status=((204, 204),)))),
        ("check: {type: https}", "check", Check(HttpRequest(), TlsRule())),
        ("check: {type: tls, verify: true}", "check", Check(tls=TlsRule(verify="system"))),
        ("check: {type: tcp, tls: true, alpn: h2}", "check", Check(tls=TlsRule(alpn=("h2",)))),
        (
            "check: {type: send_expect, tls: true, steps: [{send: 1}, {expect_regex: é}]}",
            "check",
            Check(Dialog((Send(b"1"), ExpectPattern("é"))), TlsRule()),
        ),
        ("check: {type: udp}", "check", Check(Datagram())),
        (
            "check: {type: udp, payload_hex: 00 ff, reply: ^ok}",
            "check",
            Check(Datagram(b"\x00\xff", "^ok")),
        ),
        (
            "check: {type: dns, query: a.b, query_type: TXT, answer: x}",
            "check",
            Check(DnsQuery("a.b", "TXT", "x")),
        ),
        (
            "check: {type: grpc, service: a.B, host: c}",
            "check",
            Check(GrpcHealth("a.B", "c")),
        ),
        ("check: {type: grpc, tls: true}", "check", Check(GrpcHealth(), TlsRule(alpn=("h2",)))),
        ("check: {type: redis, user: u, password: p}", "check", Check(RedisPing("u", "p"))),
        (
            "check: {type: postgres, user: u, password: p, database: d}",
            "check",
            Check(PostgresLogin("u", "p", "d")),
        ),
        ("check: {type: mysql, user: u}", "check", Check(MysqlLogin("u"))),
        ("check: {type: smtp, domain: d}", "check", Check(SmtpGreeting("d"))),
        ("connect: ", "connect", ConnectRule()),
        ("connect: {source: 10.0.0.9}", "connect", ConnectRule(source=("10.0.0.9",))),
        ("hash: ", "hash", HashRule()),
        ("queue: {max: 5}", "queue", QueueRule(max=5)),
        ("send_proxy: null", "send_proxy", None),
        *[(f"policy: {policy.value}", "policy", policy) for policy in Policy],
    ],
)
def test_short_form_in_a_pool_is_read(pool: str, part: str, value: Any) -> None:
    assert getattr(config(pool=f"endpoints: [10.0.0.1:80], {pool}").pools[0], part) == value


@pytest.mark.parametrize(
    ("listener", "part", "value"),
    [
        ("allow: null", "allow", None),
        ("allow: 10.0.0.0/8", "allow", Networks.parse(["10.0.0.0/8"])),
        ('allow: [0.0.0.0/0, "::/0"]', "allow", Networks(((0, 2**32 - 1),), ((0, 2**128 - 1),))),
        ("deny: []", "deny", None),
        ("deny: null", "deny", None),
        ('deny: ["unix:"]', "deny", Networks(unix=True)),
        ("deny: [10.0.0.0/9, 10.128.0.0/9]", "deny", Networks.parse(["10.0.0.0/8"])),
        ("accept_proxy: null", "accept_proxy", None),
        ('accept_proxy: {from: "::1"}', "accept_proxy", Networks.parse(["::1"])),
        ("upload_max: 1.5KiB", "upload_max", 1536),
        ("unix: {mode: 0600}", "unix", UnixSocket(0o600)),
        ("tcp: {dscp: null, user_timeout: 0s}", "tcp", TcpOptions(user_timeout_s=0.0)),
    ],
)
def test_value_of_a_listener_is_read(listener: str, part: str, value: Any) -> None:
    found = config(listener=f"bind: 127.0.0.1:8080, pool: web, {listener}").listeners[0]
    assert getattr(found, part) == value


@pytest.mark.parametrize(
    ("written", "binds"),
    [
        ("10.0.0.1:80-82", "10.0.0.1:80 10.0.0.1:81 10.0.0.1:82"),
        ('"[::]:80-80"', "[::]:80"),
        ('["10.0.0.1:65535-65535", "unix:/run//lb/./web.sock"]', "10.0.0.1:65535 unix:/run/lb/web.sock"),
        ("10.0.0.1:1-4096", " ".join(f"10.0.0.1:{port}" for port in range(1, 4097))),
    ],
)
def test_range_of_ports_is_each_of_them(written: str, binds: str) -> None:
    found = config(listener=f"bind: {written}, pool: web")
    assert " ".join(map(str, found.listeners[0].binds)) == binds


def test_endpoint_on_a_unix_socket_is_called_by_its_address() -> None:
    found = config(pool='endpoints: ["unix:/run/app.sock"]').pools[0].endpoints
    assert found == (Endpoint("unix:/run/app.sock", UnixAddress("/run/app.sock")),)


@pytest.mark.parametrize(
    ("pool", "check", "version"),
    [
        ("v1", "", ProxyVersion.V1),
        ("null", "", None),
        ("v2", "send_proxy: null", ProxyVersion.V2),
        ("v2", "send_proxy: off", None),
        ("v2", "send_proxy: v1", ProxyVersion.V1),
        ("null", "send_proxy: v1", ProxyVersion.V1),
        ("v2", "port: 81", None),
        ("v2", "address: 10.0.0.9", None),
        ("v2", "port: 81, send_proxy: v2", ProxyVersion.V2),
    ],
)
def test_probe_opens_as_sessions_do_unless_it_goes_elsewhere(
    pool: str, check: str, version: ProxyVersion | None
) -> None:
    text = f"endpoints: [10.0.0.1:80], send_proxy: {pool}, check: {{type: tcp, {check}}}"
    found = config(pool=text).pools[0].check
    assert found
    assert found.send_proxy is version


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
        (
            text(pool="endpoints: [10.0.0.1:1], hash: {on: sni}"),
            "lb.yaml:4:34: pools.web.hash: has no effect: the policy round_robin does not hash; "
            "write `policy: maglev` or `policy: source_hash`",
        ),
        (
            text(pool="endpoints: [10.0.0.1:1, 10.0.0.1:2], policy: maglev, hash: {table: 199}"),
            "lb.yaml:4:69: pools.web.hash.table: 199 slots for 2 endpoints: their shares are more than a "
            "percent off; write a prime number above 200 for `hash.table`",
        ),
        (
            text(pool="endpoints: [10.0.0.1:1, {address: 10.0.0.2:1, sessions_max: 0}], queue: {max: 9}"),
            "lb.yaml:4:74: pools.web.queue: nobody ever waits: no endpoint of this pool has a sessions_max",
        ),
    ],
)
def test_file_that_is_fine_but_odd_is_warned_about(source: str, warning: str) -> None:
    assert list(map(str, read(source).warnings)) == [warning]


@pytest.mark.parametrize(
    "pool",
    [
        "policy: maglev, hash: {on: sni}, endpoints: [10.0.0.1:1]",
        "policy: source_hash, hash: {key: a}, endpoints: [10.0.0.1:1]",
        "queue: {max: 5}, endpoints: [10.0.0.1:1, {address: 10.0.0.2:1, sessions_max: 1}]",
        "queue: {timeout: 1s}, endpoints: [10.0.0.1:1]",
    ],
)
def test_rule_with_an_effect_is_not_warned_about(pool: str) -> None:
    assert read(text(pool=pool)).warnings == ()


def test_rule_in_defaults_is_for_the_pools_that_it_concerns() -> None:
    assert read(text(top="defaults: {hash: {on: sni}, queue: {max: 5}}")).warnings == ()


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
