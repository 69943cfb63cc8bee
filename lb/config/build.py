"""Valid sections -> the values of lb.model."""

from __future__ import annotations

from collections.abc import Mapping

from lb.config.check_section import TLS_TYPES, CheckSection, DampingSection, PoolCheckSection
from lb.config.dialog_section import StepSection
from lb.config.listener_section import ListenerSection
from lb.config.networks import Member, gathered
from lb.config.networks_section import ListFileSection
from lb.config.pool_section import EndpointSection, OutlierSection, PoolSection
from lb.config.schema import FileSection
from lb.config.socket_section import KeepaliveSection, TcpSection
from lb.model.check import (
    AgentQuery,
    Check,
    Checks,
    Damping,
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
    Question,
    RedisPing,
    Send,
    SmtpGreeting,
    Step,
    TlsRule,
)
from lb.model.config import AdminPlane, Config, Log, Shutdown, Workers
from lb.model.endpoint import Admin, Endpoint
from lb.model.listener import Keepalive, Listener, RefuseBy, TcpOptions, Timeouts, UnixSocket
from lb.model.networks import Networks
from lb.model.pool import ConnectRule, HashOn, HashRule, OnAllDown, OutlierRule, Policy, Pool, QueueRule
from lb.model.proxy import ProxyVersion

Lists = Mapping[str, Networks]

GRPC_ALPN = ("h2",)  # without it servers of gRPC refuse


def config(file: FileSection, lists: Lists) -> Config:
    """`lists`: what stands in the files of networks, by their names."""
    workers, shutdown = file.workers, file.shutdown
    return Config(
        listeners=tuple(listener(name, section, lists) for name, section in file.listeners.items()),
        pools=tuple(pool(name, section) for name, section in file.pools.items()),
        workers=Workers(workers.count, None if workers.cpus is None else tuple(workers.cpus)),
        sessions_max=file.sessions_max,
        user=file.user,
        runtime_dir=file.runtime_dir,
        shutdown=Shutdown(shutdown.pre_drain, shutdown.drain, shutdown.orphan),
        admin=AdminPlane(file.admin.bind, file.admin.socket),
        log=Log(file.log.level, file.log.format, file.log.access, file.log.access_rate_max),
    )


def listener(name: str, section: ListenerSection, lists: Lists) -> Listener:
    timeouts, by_proxy = section.timeouts, section.accept_proxy
    return Listener(
        name=name,
        binds=tuple(address for entry in section.bind for address in entry),
        pool=section.pool,
        sessions_max=section.sessions_max,
        timeouts=Timeouts(timeouts.routing, timeouts.idle, timeouts.half_close, timeouts.reset_linger),
        tcp=tcp_options(section.tcp),
        allow=None if section.allow is None else networks(section.allow, lists),
        deny=networks(section.deny, lists) if section.deny else None,
        refuse_by=RefuseBy(section.refuse_by),
        accept_proxy=networks(by_proxy.sources, lists) if by_proxy else None,
        sessions_max_per_source=section.sessions_max_per_source,
        rate_max=section.rate_max,
        rate_max_per_source=section.rate_max_per_source,
        upload_max=section.upload_max,
        download_max=section.download_max,
        dry_run=section.dry_run,
        session_age_max_s=section.session_age_max,
        unix=UnixSocket(section.unix.mode, section.unix.owner, section.unix.group),
    )


def networks(section: ListFileSection | list[Member], lists: Lists) -> Networks:
    """One value for all that name the same file."""
    return lists[section.file] if isinstance(section, ListFileSection) else gathered(section)


def tcp_options(section: TcpSection) -> TcpOptions:
    return TcpOptions(
        backlog=section.backlog,
        keepalive=keepalive(section.keepalive),
        user_timeout_s=section.user_timeout,
        fast_open=section.fast_open,
        defer_accept=section.defer_accept,
        interface=section.interface,
        netns=section.netns,
        mark=section.mark,
        dscp=section.dscp,
        mss=section.mss,
        congestion=section.congestion,
        freebind=section.freebind,
        transparent=section.transparent,
    )


def keepalive(section: KeepaliveSection | None) -> Keepalive | None:
    return Keepalive(section.idle, section.interval, section.count) if section else None


def pool(name: str, section: PoolSection) -> Pool:
    connect, hashed, queue = section.connect, section.hash, section.queue
    send_proxy = proxy_version(section.send_proxy)
    return Pool(
        name=name,
        endpoints=tuple(endpoint(member) for member in section.endpoints),
        policy=Policy(section.policy),
        check=checks(section.check, send_proxy) if section.check else None,
        connect=ConnectRule(
            connect.timeout, connect.attempts_max, connect.retry_budget_percent, tuple(connect.source)
        ),
        drain_s=section.drain,
        close_after_s=section.on_down.close_after if section.on_down else None,
        queue=QueueRule(queue.max, queue.timeout),
        hash=HashRule(HashOn(hashed.on), hashed.table, hashed.bound_percent, hashed.key),
        send_proxy=send_proxy,
        outlier=outlier(section.outlier),
        on_all_down=OnAllDown(section.on_all_down),
        panic_percent=section.panic_percent,
        slow_start_s=section.slow_start,
        overprovision_percent=section.overprovision_percent,
        prefer_zone=section.prefer_zone,
    )


def outlier(section: OutlierSection | None) -> OutlierRule | None:
    if section is None:
        return None
    return OutlierRule(
        consecutive_failures=section.consecutive_failures,
        first_byte_timeout_s=section.first_byte_timeout,
        ejection_s=section.ejection,
        ejection_max_s=section.ejection_max,
        eject_max_percent=section.eject_max_percent,
        min_eligible=section.min_eligible,
    )


def proxy_version(word: str | None) -> ProxyVersion | None:
    return None if word in (None, "off") else ProxyVersion(word)


def endpoint(section: EndpointSection) -> Endpoint:
    return Endpoint(
        name=section.name or str(section.address),
        address=section.address,
        weight=section.weight,
        sessions_max=section.sessions_max,
        admin=Admin(section.admin.upper()),
        priority=section.priority,
        zone=section.zone,
    )


def checks(section: PoolCheckSection, of_pool: ProxyVersion | None) -> Check | Checks:
    group = section.all or section.any
    if group is None:
        return check(section, of_pool)
    return Checks(tuple(check(each, of_pool) for each in group), any_suffices=section.any is not None)


def check(section: CheckSection, of_pool: ProxyVersion | None) -> Check:
    """`of_pool`: its send_proxy, which holds for probes that go where sessions go."""
    is_elsewhere = section.port is not None or section.address is not None
    inherits = section.send_proxy is None and not is_elsewhere
    speaks_tls = section.tls or section.type in TLS_TYPES
    alpn = tuple(section.alpn) or (GRPC_ALPN if section.type == "grpc" else ())
    return Check(
        question=question(section),
        tls=TlsRule(section.sni, alpn, section.verify) if speaks_tls else None,
        interval_s=section.interval,
        interval_changing_s=section.interval_changing,
        interval_down_s=section.interval_down,
        timeout_s=section.timeout,
        rise=section.rise,
        fall=section.fall,
        jitter_percent=section.jitter,
        port=section.port,
        address=section.address,
        initial_up=section.initial == "up",
        damping=damping(section.damping),
        send_proxy=of_pool if inherits else proxy_version(section.send_proxy),
    )


def damping(section: DampingSection | None) -> Damping | None:
    return Damping(section.window, section.hold_down_max) if section else None


def question(section: CheckSection) -> Question | None:
    match section.type:
        case "http" | "https":
            return http_request(section)
        case "send_expect":
            return Dialog(tuple(step(each) for each in section.steps or ()))
        case "udp":
            return Datagram(section.payload or section.payload_hex or b"", section.reply)
        case "grpc":
            return GrpcHealth(section.service, section.host)
        case "redis":
            return RedisPing(section.user, section.password)
        case "smtp":
            return SmtpGreeting(section.domain)
        case "postgres":
            return PostgresLogin(section.user or "", section.password, section.database)
        case "mysql":
            return MysqlLogin(section.user or "", section.password, section.database)
        case "agent":
            return AgentQuery(section.send or b"")
        case "exec":
            return Program(section.program or "", tuple(section.arguments))
        case "dns":
            return DnsQuery(section.query or "", section.query_type, section.answer)
    return None


def http_request(section: CheckSection) -> HttpRequest:
    return HttpRequest(
        path=section.path,
        host=section.host,
        method=section.method,
        headers=tuple(section.headers.items()),
        status=tuple(section.status),
        body=section.body,
    )


def step(section: StepSection) -> Step:
    """It has one key, which was made sure of before."""
    if (sent := section.send or section.send_hex) is not None:
        return Send(sent)
    if (awaited := section.expect or section.expect_hex) is not None:
        return Expect(awaited)
    return ExpectPattern(section.expect_regex or "")
