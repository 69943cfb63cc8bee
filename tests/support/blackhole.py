"""An endpoint that answers no SYN: a listening socket whose queue is full and that nobody accepts from.

The kernel drops a SYN for which there is no room, as a firewall or a dead host would; no privilege is needed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.support.ports import free_port

FILL_MAX = 8
UNANSWERED_S = 0.3  # loopback answers within microseconds


@contextmanager
def blackhole() -> Iterator[int]:
    """The port of one."""
    port = free_port()
    with ExitStack() as held, socket.socket() as listening:
        listening.bind(("127.0.0.1", port))
        listening.listen(0)
        for _ in range(FILL_MAX):
            filler = held.enter_context(socket.socket())
            filler.settimeout(UNANSWERED_S)
            try:
                filler.connect(("127.0.0.1", port))
            except TimeoutError:
                yield port
                return
    raise AssertionError(f"{FILL_MAX} connections did not fill a queue of length 0")
