"""Certificates of an authority of the test's own, and a script that serves TLS with one."""

from __future__ import annotations

import datetime
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import trustme

from tests.support.scripted import Script


@dataclass(frozen=True)
class Certificates:
    """`trusted`: the authority's, as a file."""

    authority: trustme.CA
    trusted: Path

    @classmethod
    def made(cls, folder: Path) -> Certificates:
        authority, path = trustme.CA(), folder / "ca.pem"
        authority.cert_pem.write_to_path(path)
        return cls(authority, path)

    def context(
        self, *names: str, alpn: tuple[str, ...] = (), ends: datetime.datetime | None = None
    ) -> ssl.SSLContext:
        """For a server that is called so."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.authority.issue_cert(*names, not_after=ends).configure_cert(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def over_tls(context: ssl.SSLContext, script: Callable[[ssl.SSLSocket], object]) -> Script:
    """Completes a handshake, does what the script says, and reads until the peer says goodbye. A peer that
    leaves without a close_notify, or refuses, is a ConnectionError, as one that resets is."""

    def scripted(connection: socket.socket) -> None:
        raw = connection.dup()
        try:
            with context.wrap_socket(raw, server_side=True, suppress_ragged_eofs=False) as secured:
                script(secured)
                while secured.recv(65536):
                    pass
                secured.unwrap()
        except ssl.SSLError as error:
            raise ConnectionError(str(error)) from error

    return scripted
