"""Valid sections -> the values of lb.model."""

from __future__ import annotations

from lb.config.check_section import CheckSection
from lb.config.listener_section import KeepaliveSection, ListenerSection
from lb.config.pool_section import EndpointSection, PoolSection
from lb.config.schema import FileSection
from lb.model.check import Check, HttpRequest
from lb.model.config import AdminPlane, Config, Log, Shutdown, Workers
from lb.model.endpoint import Admin, Endpoint
from lb.model.listener import Keepalive, Listener, TcpOptions, Timeouts
from lb.model.pool import ConnectRule, Policy, Pool


def config(file: FileSection) -> Config:
    workers, shutdown = file.workers, file.shutdown
    return Config(
        listeners=tuple(listener(name, section) for name, section in file.listeners.items()),
        pools=tuple(pool(name, section) for name, section in file.pools.items()),
        workers=Workers(workers.count, None if workers.cpus is None else tuple(workers.cpus)),
        sessions_max=file.sessions_max,
        user=file.user,
        runtime_dir=file.runtime_dir,
        shutdown=Shutdown(shutdown.pre_drain, shutdown.drain, shutdown.orphan),
        admin=AdminPlane(file.admin.bind, file.admin.socket),
        log=Log(file.log.level, file.log.format, file.log.access),
    )


def listener(name: str, section: ListenerSection) -> Listener:
    timeouts = section.timeouts
    return Listener(
        name=name,
        binds=tuple(section.bind),
        pool=section.pool,
        sessions_max=section.sessions_max,
        timeouts=Timeouts(timeouts.idle, timeouts.half_close, timeouts.reset_linger),
        tcp=TcpOptions(section.tcp.backlog, keepalive(section.tcp.keepalive)),
    )


def keepalive(section: KeepaliveSection | None) -> Keepalive | None:
    return Keepalive(section.idle, section.interval, section.count) if section else None


def pool(name: str, section: PoolSection) -> Pool:
    return Pool(
        name=name,
        endpoints=tuple(endpoint(member) for member in section.endpoints),
        policy=Policy(section.policy),
        check=check(section.check) if section.check else None,
        connect=ConnectRule(section.connect.timeout, section.connect.attempts_max),
        drain_s=section.drain,
        close_after_s=section.on_down.close_after if section.on_down else None,
    )


def endpoint(section: EndpointSection) -> Endpoint:
    return Endpoint(
        name=section.name or str(section.address),
        address=section.address,
        weight=section.weight,
        sessions_max=section.sessions_max,
        admin=Admin(section.admin.upper()),
    )


def check(section: CheckSection) -> Check:
    return Check(
        http=http_request(section) if section.type == "http" else None,
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
    )


def http_request(section: CheckSection) -> HttpRequest:
    return HttpRequest(
        path=section.path,
        host=section.host,
        method=section.method,
        headers=tuple(section.headers.items()),
        status=tuple(section.status),
    )
