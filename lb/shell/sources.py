"""The hosts that a pool connects from, as far as this machine has them.

One that is not there yet may be on its way (a virtual address moves to whoever is alive), so it is warned
about and no error. The data path passes over it, and never blames an endpoint for it.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator

from lb.model.config import Config


def absent_sources(config: Config) -> Iterator[str]:
    """A warning for each."""
    for pool in config.pools:
        for host in pool.connect.source:
            if not is_ours(host):
                yield (
                    f"pools.{pool.name}.connect.source: this machine has no address {host}, "
                    "and cannot connect from it: see `ip address`"
                )


def is_ours(host: str) -> bool:
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock:
            sock.bind((host, 0))
    except OSError as error:
        return error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
    return True
