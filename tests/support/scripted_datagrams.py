"""An endpoint of datagrams that replies to each as a test says."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lb.model.address import Address

Replies = Callable[[bytes], list[bytes]]


@contextmanager
def scripted_datagrams(replies: Replies, host: str = "127.0.0.1") -> Iterator[Address]:
    """`replies`: what is sent back, in order, for one datagram that came."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        thread = threading.Thread(target=_serve, args=(sock, replies), daemon=True)
        thread.start()
        yield Address(*sock.getsockname()[:2])
        with socket.socket(family, socket.SOCK_DGRAM) as last:
            last.sendto(_END, sock.getsockname())
        thread.join(5)


_END = b"the test is over"


def _serve(sock: socket.socket, replies: Replies) -> None:
    while True:
        data, peer = sock.recvfrom(65_535)
        if data == _END:
            return
        for reply in replies(data):
            sock.sendto(reply, peer)
