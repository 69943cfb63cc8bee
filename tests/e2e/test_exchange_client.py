"""The client that judges lb, judged itself: against plain endpoints, without lb."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from tests.support.endpoints import endpoint
from tests.support.load import exchanges
from tests.support.nginx import nginx
from tests.support.ports import free_port
from tests.support.process import needs
from tests.support.sessions import Acceptor, acceptor, reset
from tests.support.waiting import eventually, throughout


def test_exchanges_answered_count_by_name_and_time(folder: Path) -> None:
    with endpoint("http", "a", folder) as one:
        start_s = time.monotonic()
        with exchanges(one.port, folder, threads=4) as client:
            throughout(lambda: one.process.alive, for_s=1, reason="the endpoint serves")
    print(f"{client.exchanges} exchanges, slowest {client.slowest_ms} ms")
    assert client.exchanges > 100
    assert client.between(start_s - 1, time.monotonic() + 1) == {"a": client.exchanges}
    assert not client.failures


def test_exchanges_with_nobody_listening_are_refused_before_a_session(folder: Path) -> None:
    with exchanges(free_port(), folder, threads=1) as client:
        pass
    assert set(client.kinds()) <= {"connect refused"}


def test_exchanges_cut_by_the_endpoint_say_how_far_they_came(folder: Path) -> None:
    with acceptor() as one:
        ends = [lambda c: reset(c), lambda c: c.close(), lambda c: (c.send(b"HTTP/1.1 200 OK\r\n"), reset(c))]

        def serve(listening: Acceptor) -> None:
            for end in ends:
                accepted = listening.accept()
                accepted.recv(4096)
                end(accepted)

        thread = threading.Thread(target=serve, args=(one,))
        thread.start()
        with exchanges(one.port, folder, threads=1, pause_ms=50) as client:
            thread.join()
    seen = [(failure.stage, failure.kind, failure.bytes) for failure in client.failures[:3]]
    assert seen == [("answer", "reset", 0), ("answer", "closed", 0), ("answer", "reset", 17)]


def test_nginx_killed_and_started_again_serves_its_page(folder: Path) -> None:
    needs("nginx")
    with nginx("a", folder) as one, exchanges(one.port, folder, threads=2) as client:
        eventually(lambda: len(one.process.family()) == 2, within_s=5, reason="master and worker run")
        one.kill()
        died_s = time.monotonic()
        assert one.process.family() == []
        one.start_again()
        again_s = time.monotonic()
        throughout(lambda: one.process.alive, for_s=0.5, reason="nginx serves again")
    assert client.between(0, died_s)["a"] > 0
    assert client.between(again_s, again_s + 10)["a"] > 0
    assert set(client.kinds()) <= {"connect refused", "connect reset", "answer reset", "answer closed"}
