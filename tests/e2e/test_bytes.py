"""What goes in comes out: both ways at once, over half-closes, however slowly it is read."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.endpoints import endpoint, pattern
from tests.support.lb_process import LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.process import needs
from tests.support.scale import Scale
from tests.support.sessions import Acceptor, Pair, acceptor, connect, echoes, read_all, read_exactly
from tests.support.strace import calls_during
from tests.support.streams import InThread, digest, read_digest, send
from tests.support.vitals import memory_bytes
from tests.support.waiting import eventually, throughout

MIB = 1 << 20
STREAM_WITHIN_S = 60
STALLED_MEMORY_MAX = 8 * MIB


@contextmanager
def lb_and_acceptor(folder: Path, workers: int = 1) -> Iterator[tuple[LbProcess, Acceptor, int]]:
    port = free_port()
    with acceptor() as one, running_lb(one_pool(port, {"a": one.port}, workers=workers), folder) as lb:
        yield lb, one, port


def test_hundred_megabytes_both_ways_at_once_arrive_whole(folder: Path) -> None:
    size = 100 * 1000 * 1000
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        session = endpoint_.session(port)
        start_s = time.monotonic()
        threads = [InThread(send, session.client, size, 1), InThread(send, session.upstream, size, 2)]
        up, down = InThread(read_digest, session.upstream), InThread(read_digest, session.client)
        assert up.result(STREAM_WITHIN_S) == (size, digest(size, 1))
        assert down.result(STREAM_WITHIN_S) == (size, digest(size, 2))
        print(f"\n2 x {size / 1e6:.0f} MB in {time.monotonic() - start_s:.2f} s")
        for thread in threads:
            thread.result(1)
        line = lb.session_line(session.client.getsockname())
        assert (line["bytes_in"], line["bytes_out"], line["reason"]) == (size, size, "done")


def test_streams_are_spliced_and_messages_copied(folder: Path) -> None:
    """Both paths are walked by this suite: a stream that only copied would hide a defect of the other."""
    needs("strace")
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        worker = lb.worker_pids()[0]
        session = endpoint_.session(port)
        messages = calls_during(folder, worker, lambda: ping_pong(session, 50))
        stream = calls_during(folder, worker, lambda: stream_down(session, 20 * MIB))
        print(f"\n50 messages: {messages}; 20 MiB: {stream}")
        assert messages.get("splice", 0) == 0
        assert messages.get("recvfrom", 0) + messages.get("read", 0) >= 100
        assert stream.get("splice", 0) > 10


def ping_pong(session: Pair, messages: int) -> None:
    for _ in range(messages):
        session.client.sendall(b"p" * 64)
        assert read_exactly(session.upstream, 64) == b"p" * 64
        session.upstream.sendall(b"q" * 64)
        assert read_exactly(session.client, 64) == b"q" * 64


def stream_down(session: Pair, size: int) -> None:
    sender = InThread(send, session.upstream, size, 3)
    assert read_digest(session.client) == (size, digest(size, 3))
    sender.result(5)


def test_upload_then_half_close_then_download_is_whole(folder: Path, scale: Scale) -> None:
    up_bytes, down_bytes = scale.of(full=100, ci=10) * MIB + 3, scale.of(full=100, ci=10) * MIB + 5
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        session = endpoint_.session(port)
        upload = InThread(send, session.client, up_bytes, 1)
        assert read_digest(session.upstream) == (up_bytes, digest(up_bytes, 1))
        upload.result(5)
        download = InThread(send, session.upstream, down_bytes, 2)
        assert read_digest(session.client) == (down_bytes, digest(down_bytes, 2))
        download.result(5)
        line = lb.session_line(session.client.getsockname())
        assert (line["bytes_in"], line["bytes_out"]) == (up_bytes, down_bytes)
        assert (line["reason"], line["closed_by"]) == ("done", "client")


def test_download_then_half_close_by_the_endpoint_leaves_the_upload_open(folder: Path) -> None:
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        session = endpoint_.session(port)
        send(session.upstream, 3 * MIB, 1)
        assert read_digest(session.client) == (3 * MIB, digest(3 * MIB, 1))
        upload = InThread(send, session.client, 3 * MIB, 2)
        assert read_digest(session.upstream) == (3 * MIB, digest(3 * MIB, 2))
        upload.result(5)
        line = lb.session_line(session.client.getsockname())
        assert (line["reason"], line["closed_by"]) == ("done", "endpoint")


@pytest.mark.parametrize("size", [5, 3 * MIB])
def test_netcat_half_closes_and_reads_the_answer(size: int, folder: Path) -> None:
    needs("nc.openbsd")
    port = free_port()
    sent = folder / "sent"
    sent.write_bytes((b"0123456789abcdef" * (size // 16 + 1))[:size])
    with endpoint("sink", "a", folder) as a, running_lb(one_pool(port, {"a": a.port}), folder):
        with sent.open("rb") as source:
            done = subprocess.run(
                ["nc.openbsd", "-N", "127.0.0.1", str(port)],
                stdin=source,
                capture_output=True,
                timeout=20,
                check=False,
            )
        summed = subprocess.run(["sha256sum", str(sent)], capture_output=True, text=True, check=True).stdout
        assert done.returncode == 0, done
        assert re.search(rf'"bytes": {size}\b', done.stdout.decode()), done
        assert summed.split()[0] in done.stdout.decode()


def test_netcat_that_only_listens_is_spoken_to_first(folder: Path) -> None:
    needs("nc.openbsd")
    port = free_port()
    with endpoint("name", "speaks-first", folder) as a, running_lb(one_pool(port, {"a": a.port}), folder):
        with connect(port) as client:
            assert read_all(client) == b"speaks-first"
        done = subprocess.run(
            ["nc.openbsd", "-d", "127.0.0.1", str(port)], capture_output=True, timeout=20, check=False
        )
        assert done.stdout == b"speaks-first"


def test_slow_reader_stops_the_sender_and_costs_bounded_memory(folder: Path) -> None:
    """A hundred MiB wait for a reader that does not read; another session goes on, and nothing is lost."""
    size = 100 * MIB
    with lb_and_acceptor(folder) as (lb, endpoint_, port):
        worker = lb.worker_pids()[0]
        other = endpoint_.session(port)
        slow = endpoint_.session(port)
        before = memory_bytes(worker)
        sender = InThread(send, slow.upstream, size, 1)

        def others_are_served() -> bool:
            other.client.sendall(b"ping")
            assert read_exactly(other.upstream, 4) == b"ping"
            other.upstream.sendall(b"pong")
            return read_exactly(other.client, 4) == b"pong"

        throughout(others_are_served, for_s=1, reason="another session is served meanwhile")
        assert sender.is_alive(), "the sender was to be held up"
        grown = memory_bytes(worker) - before
        assert read_digest(slow.client) == (size, digest(size, 1))
        sender.result(5)
        print(f"\na stalled reader of 100 MiB costs {grown / 1024:.0f} KiB of the worker")
        assert grown < STALLED_MEMORY_MAX


def test_empty_sessions_end_when_their_client_leaves(folder: Path) -> None:
    port = free_port()
    with endpoint("echo", "a", folder) as a, running_lb(one_pool(port, {"a": a.port}), folder) as lb:
        for _ in range(20):
            connect(port).close()
        with connect(port) as client:
            assert echoes(client)
        eventually(
            lambda: lb.metrics().sum("lb_listener_sessions_open") == 0, within_s=5, reason="none is left open"
        )
        assert [line["reason"] for line in lb.whole_access()] == ["done"] * 21


def test_downloads_at_once_are_each_whole(folder: Path, scale: Scale) -> None:
    """Several streams share a worker, its pipes and its turns."""
    port, size, count = free_port(), scale.of(full=50, ci=8) * MIB + 1, 12
    with (
        endpoint("source", "a", folder, bytes=size) as a,
        running_lb(one_pool(port, {"a": a.port}, workers=2), folder),
        ExitStack() as opened,
    ):
        clients = [opened.enter_context(connect(port)) for _ in range(count)]
        downloads = [InThread(read_digest, client) for client in clients]
        found = {download.result(STREAM_WITHIN_S) for download in downloads}
    expected = hashlib.sha256()
    for offset in range(0, size, MIB):
        expected.update(pattern(offset, min(MIB, size - offset)))
    assert found == {(size, expected.hexdigest())}


def test_client_over_ipv6_reaches_an_endpoint_over_ipv4(folder: Path) -> None:
    port = free_port("::1")
    with endpoint("echo", "a", folder) as a:
        text = one_pool(port, {"a": a.port}, listener={"bind": f"[::1]:{port}"})
        with running_lb(text, folder) as lb, socket.create_connection(("::1", port), timeout=10) as client:
            assert echoes(client)
            client.close()
            line = eventually(lb.access, within_s=5, reason="the session is logged")[0]
            assert line["client"].startswith("[::1]:")
            assert line["local"] == f"[::1]:{port}"
