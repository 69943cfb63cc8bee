"""One probe: connect, ask if there is something to ask, and say what came of it.

A probe has one absolute deadline, reads a bounded answer, and leaves with a FIN: what the endpoint said is
read before the socket is closed, or the kernel would answer it with a reset and fill the endpoint's log; over
TLS a close_notify goes before. What our own machine lacks (descriptors, memory, ports) is never held against
the endpoint: ProbeImpossible. Where the endpoint expects a PROXY header it gets one that says that lb comes
for itself.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from lb.model.address import SocketAddress
from lb.model.check import (
    AgentQuery,
    Certificate,
    Check,
    Datagram,
    Dialog,
    DnsQuery,
    GrpcHealth,
    HttpRequest,
    MysqlLogin,
    PostgresLogin,
    ProbeResult,
    Program,
    Question,
    RedisPing,
    SmtpGreeting,
    TlsRule,
)
from lb.shell import tls
from lb.shell.connecting import connected, streams
from lb.shell.farewell import close, farewell
from lb.shell.questions import (
    agent,
    blocking,
    datagram,
    dialog,
    dns,
    grpc,
    http,
    mysql,
    postgres,
    program,
    redis,
    smtp,
)
from lb.shell.questions.answer import Connection, Failed, Passed

FAREWELL_S = 0.1

# Over a connection, and without one. Each raises OSError and Failed.
ASK: dict[type[Question], Callable[[Connection, Any, SocketAddress], Awaitable[Passed]]] = {
    HttpRequest: http.ask,
    AgentQuery: agent.ask,
    Dialog: dialog.ask,
    GrpcHealth: grpc.ask,
    RedisPing: redis.ask,
    SmtpGreeting: smtp.ask,
}
ASK_UNCONNECTED: dict[type[Question], Callable[[Any, SocketAddress], Awaitable[Passed]]] = {
    Datagram: datagram.ask,
    DnsQuery: dns.ask,
    Program: program.ask,
}
CLOSES_ITSELF = (HttpRequest, SmtpGreeting)  # the endpoint was asked to

OURS = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
WORDS = {
    errno.ECONNREFUSED: "refused",
    errno.ECONNRESET: "reset",
    errno.EPIPE: "reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "timed out",
    errno.ENOENT: "no such file",
    errno.EACCES: "permission denied",
    errno.EAGAIN: "its queue is full",  # of a unix socket: over TCP it would not answer
}


class ProbeImpossible(Exception):
    """This machine could not probe; the endpoint has shown nothing."""


@dataclass(frozen=True, slots=True)
class TimedOut(ProbeResult):
    """A failure that proves something only if our own loop was on time."""


@dataclass
class _Probe:
    """`doing`: what it was about when its time was up."""

    check: Check
    address: SocketAddress
    connection: Connection | None = None
    doing: str = "connecting"
    certificate: Certificate | None = None

    async def go(self) -> Passed:
        """Raises Failed."""
        check, passed = self.check, Passed("connected")
        if check.question is not None and (exchange := ASK_UNCONNECTED.get(type(check.question))):
            self.doing = "no answer"
            return await _translating("answer", exchange(check.question, self.address))
        if isinstance(check.question, PostgresLogin | MysqlLogin):
            return await self._log_in(check.question)
        header = check.send_proxy.own_header if check.send_proxy else b""
        if check.tls is None:
            self.connection = await streams(await self._connect())
            self.connection[1].write(header)
        else:
            passed = Passed(await self._secure(check.tls, header))
        if check.question is None:
            return passed
        assert self.connection is not None
        self.doing = "connected, no answer"
        ask = ASK[type(check.question)]
        return await _translating("answer", ask(self.connection, check.question, self.address))

    async def _connect(self) -> socket.socket:
        try:
            return await connected(self.address)
        except OSError as error:
            raise _translated("connect", error) from error

    async def _log_in(self, login: PostgresLogin | MysqlLogin) -> Passed:
        """By a library that blocks. It speaks TLS itself, after a word of its own protocol."""
        check, rule = self.check, self.check.tls
        context = tls.context_of(rule, tls.changed_ns(rule)) if rule else None
        sock = await self._connect()
        self.doing = "connected, no answer"
        sock.settimeout(check.timeout_s)
        line = blocking.Line(sock, blocking.host_of(rule.sni if rule else None, self.address), context)

        def ask(line: blocking.Line) -> Passed:
            if check.send_proxy:
                line.sock.sendall(check.send_proxy.own_header)
            if isinstance(login, PostgresLogin):
                return postgres.ask(line, login)
            return mysql.ask(line, login, check.timeout_s)

        protocol = "PostgreSQL" if isinstance(login, PostgresLogin) else "MySQL"
        return await _translating("answer", blocking.asked(line, ask, protocol))

    async def _secure(self, rule: TlsRule, header: bytes) -> str:
        sock = await self._connect()
        self.doing = "connected, no TLS handshake"
        try:
            self.connection = await tls.secured(sock, header, rule, self.address, self.check.timeout_s)
        except OSError as error:
            raise _translated("tls", error) from error
        shown = tls.shown(self.connection, rule)
        self.certificate = shown.certificate
        return shown.detail


async def run_probe(check: Check, address: SocketAddress) -> ProbeResult:
    """One attempt under `check` at `address` (where Check.target says). Raises ProbeImpossible."""
    started_s = time.monotonic()
    probe = _Probe(check, address)
    passed: Passed | None = None
    try:
        # asyncio's clock and uvloop's are this one, but uvloop's stands still during a turn.
        async with asyncio.timeout_at(started_s + check.timeout_s):
            try:
                passed = await probe.go()
            except Failed as failed:
                detail = str(failed)
        duration_s = time.monotonic() - started_s
        if probe.connection is not None:
            closes_itself = isinstance(check.question, CLOSES_ITSELF)
            await farewell(probe.connection, closes_itself=closes_itself, within_s=FAREWELL_S + duration_s)
    except TimeoutError:
        detail = f"timeout after {check.timeout_s:g} s ({probe.doing})"
        return TimedOut(False, detail, time.monotonic() - started_s, probe.certificate)
    finally:
        if probe.connection is not None:
            await close(probe.connection)
    if passed is None:
        return ProbeResult(False, detail, duration_s, probe.certificate)
    shown = (probe.certificate, passed.role, passed.lag_s, passed.agent)
    return ProbeResult(True, passed.detail, duration_s, *shown)


async def _translating(step: str, answer: Awaitable[Passed]) -> Passed:
    try:
        return await answer
    except program.CannotRun as error:
        raise ProbeImpossible(str(error)) from error
    except OSError as error:
        raise _translated(step, error) from error


def _translated(step: str, error: OSError) -> Exception:
    if text := tls.text_of(error):
        return Failed(f"tls: {text}")
    number = error.errno or errno.ECONNRESET  # asyncio's own "connection lost" has no number
    if number in OURS:
        return ProbeImpossible(f"{step}: {os.strerror(number)}")
    return Failed(f"{step}: {WORDS.get(number) or os.strerror(number)}")
