"""Free ports of loopback, outside the range from which the kernel takes ports for outgoing connections.

A port that bind(0) gave is soon given to some client as its own, and whoever was to listen on it finds it
taken. A port from below that range can only be taken by another listener; each is handed out once here.
"""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path

LOWEST = 10000
TRIES_MAX = 1000
_random = random.Random(os.getpid())
_given: set[int] = set()


def free_port(host: str = "127.0.0.1") -> int:
    """A port on which nobody listens and which no other call was given."""
    first_outgoing = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for _ in range(TRIES_MAX):
        port = _random.randrange(LOWEST, max(first_outgoing, LOWEST + TRIES_MAX))
        if port not in _given and _is_free(host, port):
            _given.add(port)
            return port
    raise AssertionError(f"no free port between {LOWEST} and {first_outgoing}")


def free_ports(count: int) -> list[int]:
    return [free_port() for _ in range(count)]


def _is_free(host: str, port: int) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def own_host() -> str:
    """An address of loopback that nobody else uses: there all ports are free, a thousand in a row."""
    return f"127.{_random.randrange(16, 255)}.{_random.randrange(1, 255)}.1"
