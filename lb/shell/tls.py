"""TLS as a probe speaks it: a handshake on a connection that stands, and what the endpoint showed.

A probe asks whether somebody serves, and has no secret to tell, so certificates are not verified unless the
check says so.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from cryptography import x509

from lb.model.address import Address, SocketAddress
from lb.model.check import Certificate, TlsRule
from lb.shell.questions.answer import ANSWER_BYTES_MAX, Connection, Failed

HANDSHAKE_SLACK_S = 1.0  # the probe's own deadline is to be the first: the loop's looks like a reset
CONTEXTS_MAX = 1024
SYSTEM = "system"  # as TlsRule.verify says it


@dataclass(frozen=True, slots=True)
class Shown:
    """`certificate` None: it showed none that can be read."""

    detail: str
    certificate: Certificate | None


async def secured(
    sock: socket.socket, header: bytes, rule: TlsRule, address: SocketAddress, timeout_s: float
) -> Connection:
    """Sends the header and completes a handshake. The socket is given over; nothing may be read from it
    before, or what an endpoint says that speaks no TLS is lost. Raises OSError (ssl.SSLError is one) and
    Failed.
    """
    try:
        context = context_of(rule, changed_ns(rule))
        await asyncio.get_running_loop().sock_sendall(sock, header)
    except BaseException:
        sock.close()
        raise
    name = rule.sni or (address.host if rule.verify and isinstance(address, Address) else "")
    return await asyncio.open_connection(
        sock=sock,
        limit=ANSWER_BYTES_MAX,
        ssl=context,
        server_hostname=name,  # empty: none
        ssl_handshake_timeout=timeout_s + HANDSHAKE_SLACK_S,
    )


def shown(connection: Connection, rule: TlsRule) -> Shown:
    """Raises Failed."""
    agreed: ssl.SSLObject = connection[1].get_extra_info("ssl_object")
    if rule.alpn and agreed.selected_alpn_protocol() not in rule.alpn:
        raise Failed(f"tls: none of {', '.join(rule.alpn)} was agreed on (ALPN)")
    return Shown(f"{agreed.version()}", read(agreed.getpeercert(binary_form=True)))


def read(certificate: bytes | None) -> Certificate | None:
    at_s = expires_s(certificate) if certificate else None
    return None if at_s is None else Certificate(at_s, at_s - time.time())


def changed_ns(rule: TlsRule) -> int:
    """Of the file of trusted certificates: one that was replaced is read again. Raises Failed."""
    if rule.verify is None or rule.verify == SYSTEM:
        return 0
    try:
        return Path(rule.verify).stat().st_mtime_ns
    except OSError as error:
        raise Failed(f"verify: {rule.verify}: {error.strerror or error}") from error


@lru_cache(maxsize=CONTEXTS_MAX)
def context_of(rule: TlsRule, changed_ns: int) -> ssl.SSLContext:
    """Raises Failed."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = rule.verify is not None
    context.verify_mode = ssl.CERT_NONE if rule.verify is None else ssl.CERT_REQUIRED
    if rule.alpn:
        context.set_alpn_protocols(list(rule.alpn))
    try:
        if rule.verify == SYSTEM:
            context.load_default_certs()
        elif rule.verify is not None:
            context.load_verify_locations(rule.verify)
    except OSError as error:
        raise Failed(f"verify: {rule.verify}: {text_of(error) or error.strerror}") from error
    return context


@lru_cache(maxsize=CONTEXTS_MAX)
def expires_s(certificate: bytes) -> float | None:
    """Until when it holds."""
    try:
        return x509.load_der_x509_certificate(certificate).not_valid_after_utc.timestamp()
    except ValueError:
        return None


def text_of(error: OSError) -> str | None:
    """In words, if TLS is what failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate refused: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return (error.reason or str(error)).replace("_", " ").lower()
    return None
