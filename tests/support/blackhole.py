"""An endpoint that answers no SYN: a listening socket whose queue is full and that nobody accepts from.

The kernel drops a SYN for which there is no room, as a firewall or a dead host would; no privilege is needed.
"""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.support.ports import free_port

FILL_MAX = 8
UNANSWERED_S = 0.3  # loopback answers within microseconds
LOOK_EVERY_S = 0.05


class Blackhole:
    """At first it accepts, and closes, whoever comes; from `fall_silent` on it answers nobody."""

    def __init__(self) -> None:
        self.port = free_port()
        self._held: list[socket.socket] = []
        self._listening = socket.socket()
        self._listening.bind(("127.0.0.1", self.port))
        self._listening.listen(0)
        self._silent = threading.Event()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def _accept(self) -> None:
        while not self._silent.is_set():
            if select.select([self._listening], [], [], LOOK_EVERY_S)[0]:
                self._listening.accept()[0].close()

    def fall_silent(self) -> None:
        self._silent.set()
        self._accepting.join()
        for _ in range(FILL_MAX):
            filler = socket.socket()
            self._held.append(filler)
            filler.settimeout(UNANSWERED_S)
            try:
                filler.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return
        raise AssertionError(f"{FILL_MAX} connections did not fill a queue of length 0")

    def close(self) -> None:
        self._silent.set()
        self._accepting.join()
        for one in (self._listening, *self._held):
            one.close()


@contextmanager
def blackhole(*, silent: bool = True) -> Iterator[Blackhole]:
    with closing(Blackhole()) as hole:
        if silent:
            hole.fall_silent()
        yield hole
