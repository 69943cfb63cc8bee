"""lb from one unix socket to another: the same bytes, reloads, losses and users as over TCP."""

from __future__ import annotations

import json
import os
import pwd
import signal
import socket
import stat
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.endpoints import endpoint
from tests.support.lb_process import LbProcess, configuration, running_lb
from tests.support.ports import free_port
from tests.support.scripted import answering_http, scripted
from tests.support.scripted_endpoint import ScriptedUnixEndpoint
from tests.support.sessions import connect, echoes
from tests.support.streams import InThread, digest, read_digest, send
from tests.support.waiting import eventually, throughout

SIZE = 100 * 1000 * 1000
WITHIN_S = 10.0
STREAM_WITHIN_S = 120
USER = "nobody"


def unix_text(folder: Path, *names: str, unix: dict[str, Any] | None = None, **top: Any) -> str:
    """A listener `NAME` at NAME.sock for each name, all before one endpoint at app.sock."""
    shared = {"unix": unix} if unix else {}
    listeners = {name: {"bind": f"unix:{folder}/{name}.sock", "pool": "app"} | shared for name in names}
    pools = {"app": {"endpoints": [{"name": "a", "address": f"unix:{folder}/app.sock"}]}}
    return configuration(workers=2, listeners=listeners, pools=pools, **top)


@contextmanager
def app(folder: Path) -> Iterator[ScriptedUnixEndpoint]:
    """The endpoint, in the test's hands."""
    made = ScriptedUnixEndpoint(str(folder / "app.sock"))
    try:
        yield made
    finally:
        made.close()
        Path(made.path).unlink()


def unix_connect(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    try:
        made.settimeout(WITHIN_S)
        made.connect(str(path))
    except OSError:
        made.close()
        raise
    return made


def unix_echoes(path: Path) -> bool:
    with unix_connect(path) as client:
        return echoes(client)


class Exchanging:
    """Threads that connect to a path, send a word and read it back, until they are told to stop.

    `ends` counts how the exchanges ended: `answered`, or the name of an error. `refused_s` tells from when to
    when those took that found a file at which nobody listened.
    """

    def __init__(self, path: Path, threads: int = 4) -> None:
        self.ends = Counter[str]()
        self.refused_s: list[tuple[float, float]] = []
        self._path, self._over, self._lock = path, threading.Event(), threading.Lock()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Exchanging:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(WITHIN_S)

    @property
    def answered(self) -> int:
        return self.ends["answered"]

    def answers_more(self, count: int = 100) -> None:
        wanted = self.answered + count
        eventually(lambda: self.answered >= wanted, within_s=30, reason=f"{count} more are answered")

    def _work(self) -> None:
        while not self._over.is_set():
            end = self._exchange()
            with self._lock:
                self.ends[end] += 1
            if end == "FileNotFoundError":
                self._over.wait(0.001)

    def _exchange(self) -> str:
        began_s = time.monotonic()
        try:
            with unix_connect(self._path) as client:
                return "answered" if echoes(client) else "cut off"
        except ConnectionRefusedError:
            self.refused_s.append((began_s, time.monotonic()))
            return "refused"
        except OSError as error:
            return type(error).__name__


# ---- Bytes ----


def test_unix_hundred_megabytes_both_ways_at_once_arrive_whole(folder: Path) -> None:
    with app(folder) as upstream, running_lb(unix_text(folder, "web"), folder) as lb:
        client = unix_connect(folder / "web.sock")
        server = upstream.accept()
        start_s = time.monotonic()
        threads = [InThread(send, client, SIZE, 1), InThread(send, server, SIZE, 2)]
        up, down = InThread(read_digest, server), InThread(read_digest, client)
        assert up.result(STREAM_WITHIN_S) == (SIZE, digest(SIZE, 1))
        assert down.result(STREAM_WITHIN_S) == (SIZE, digest(SIZE, 2))
        print(f"\n2 x {SIZE / 1e6:.0f} MB in {time.monotonic() - start_s:.2f} s")
        for thread in threads:
            thread.result(1)
        client.close()
        server.close()
        [line] = lb.whole_access()
        assert (line["bytes_in"], line["bytes_out"], line["reason"]) == (SIZE, SIZE, "done")
        assert (line["client"], line["local"]) == ("unix:", f"unix:{folder}/web.sock")
        assert line["upstream"] == line["attempts"][0]["address"] == f"unix:{folder}/app.sock"
        assert lb.status()["listeners"][0]["binds"] == [f"unix:{folder}/web.sock"]
        lb.signal(signal.SIGTERM)
        assert lb.wait(10, "it drains") == 0
        assert not (folder / "web.sock").exists()


def test_unix_endpoint_is_probed_and_taken_out_and_back(folder: Path) -> None:
    path, port = folder / "app.sock", free_port()
    check = {"type": "http", "interval": "50ms", "interval_changing": "50ms", "interval_down": "50ms"}
    text = configuration(
        workers=1,
        listeners={"web": {"bind": f"127.0.0.1:{port}", "pool": "app"}},
        pools={"app": {"endpoints": [{"name": "a", "address": f"unix:{path}"}], "check": check}},
    )
    with running_lb(text, folder) as lb:
        eventually(lambda: lb.health("a", "app") == "DOWN", within_s=10, reason="there is no file")
        with scripted(answering_http, str(path)):
            eventually(lambda: lb.health("a", "app") == "UP", within_s=10, reason="it answers")
            # UP is known a moment before the workers are told.
            eventually(lambda: answers_http(port), within_s=10, reason="sessions go there again")
        eventually(lambda: lb.health("a", "app") == "DOWN", within_s=10, reason="nobody serves the path")
        assert "refused" in json.dumps(lb.events("endpoint_changed"))


def answers_http(port: int) -> bool:
    try:
        with connect(port) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            return client.recv(100).startswith(b"HTTP/1.1 200 OK")
    except ConnectionError:
        return False


# ---- Reloads ----


def test_unix_listener_added_and_removed_under_load_refuses_none(folder: Path) -> None:
    """Who finds the file is served, but for the moment in which it is made; who does not knows at once."""
    stays, comes = folder / "stays.sock", folder / "comes.sock"
    one, both = unix_text(folder, "stays"), unix_text(folder, "stays", "comes")
    with app(folder) as upstream, running_lb(one, folder) as lb:
        upstream.echo()
        with Exchanging(stays) as staying, Exchanging(comes) as coming:
            made_s = []
            for number in range(8):
                staying.answers_more()
                from_s = time.monotonic()
                lb.replace(both)  # which is noticed, too
                assert lb.reload()["ok"]
                made_s.append((from_s, time.monotonic()))
                coming.answers_more()
                lb.replace(one)
                assert lb.reload()["ok"]
                if number % 2:  # else it comes back while it leaves
                    eventually(lambda: not comes.exists(), within_s=10, reason="the file is gone")
            eventually(lambda: left_over(folder) == [stays], within_s=20, reason="the last one has ended")
        print(f"\n{staying.ends}, {coming.ends}")
        assert set(staying.ends) == {"answered"}
        assert set(coming.ends) - {"refused"} == {"answered", "FileNotFoundError"}
        for began_s, ended_s in coming.refused_s:
            assert any(began_s < to_s and from_s < ended_s for from_s, to_s in made_s)
        eventually(lambda: len(lb.events("listener_closed")) >= 4, within_s=5, reason="their ends are told")
        assert not any(event["connections_lost"] for event in lb.events("listener_closed"))


def left_over(folder: Path) -> list[Path]:
    return sorted(set(folder.glob("*.sock*")) - {folder / "app.sock"})


def test_unix_mode_changes_on_the_standing_socket(folder: Path) -> None:
    path = folder / "web.sock"
    with (
        app(folder) as upstream,
        running_lb(unix_text(folder, "web", unix={"mode": "0600"}), folder) as lb,
    ):
        upstream.echo()
        before = path.stat()
        assert stat.S_IMODE(before.st_mode) == 0o600
        with unix_connect(path) as session:
            assert echoes(session)
            lb.replace(unix_text(folder, "web", unix={"mode": "0666"}))
            assert lb.reload()["ok"]
            assert (stat.S_IMODE(path.stat().st_mode), path.stat().st_ino) == (0o666, before.st_ino)
            assert echoes(session)
        lb.replace(unix_text(folder, "web", unix={"mode": "0666", "owner": "no-such-user"}))
        answer = lb.reload()
        assert not answer["ok"]
        assert "there is no user 'no-such-user' on this machine" in answer["errors"][0]["message"]
        assert unix_echoes(path)


# ---- Losses ----


def test_unix_worker_killed_others_serve_on(folder: Path) -> None:
    with app(folder) as upstream, running_lb(unix_text(folder, "web"), folder) as lb:
        upstream.echo()
        with Exchanging(folder / "web.sock") as client:
            for number in range(2):
                client.answers_more()
                os.kill(lb.worker_pids()[number], signal.SIGKILL)
                client.answers_more()
                eventually(lambda: len(lb.worker_pids()) == 2, within_s=10, reason="it is replaced")
        print(f"\n{client.ends}")
        assert client.ends.total() - client.answered <= 2 * 4, "only sessions of the killed"
        assert set(client.ends) <= {"answered", "cut off", "ConnectionResetError", "BrokenPipeError"}


def test_unix_worker_stopped_holds_nobody_up(folder: Path) -> None:
    with app(folder) as upstream, running_lb(unix_text(folder, "web"), folder) as lb:
        upstream.echo()
        stopped = lb.worker_pids()[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            for _ in range(20):
                assert unix_echoes(folder / "web.sock")
        finally:
            os.kill(stopped, signal.SIGCONT)


def test_unix_path_of_a_killed_lb_is_taken_over_from_its_orphans(folder: Path) -> None:
    path = folder / "web.sock"
    shutdown = {"orphan": "1m", "drain": "1m"}
    text = unix_text(folder, "web", shutdown=shutdown)
    with app(folder) as upstream, running_lb(text, folder) as killed:
        upstream.echo()
        orphans = sorted(killed.worker_pids().values())
        with unix_connect(path) as session:
            assert echoes(session)
            killed.signal(signal.SIGKILL)
            killed.wait(2, "it was killed")
            assert unix_echoes(path), "workers go on accepting"
            after = folder / "after"
            after.mkdir()
            with running_lb(text, after) as lb:
                assert [sorted(event["pids"]) for event in lb.events("orphans_relieved")] == [orphans]
                assert echoes(session), "orphans go on with what they have"
                assert all(unix_echoes(path) for _ in range(10))
                assert len(lb.whole_access()) == 10
        eventually(lambda: killed.process.family() == [], within_s=10, reason="orphans leave")


def test_unix_path_of_another_lb_is_refused_and_served_on(folder: Path) -> None:
    path = folder / "web.sock"
    with app(folder) as upstream, running_lb(unix_text(folder, "web"), folder) as first:
        upstream.echo()
        other = folder / "other"
        other.mkdir()
        second = LbProcess(unix_text(folder, "web"), other)
        assert second.wait(15, "it is refused") == 1
        assert f"cannot listen on unix:{path}: address already in use" in second.process.err()
        second.process.end()
        assert unix_echoes(path)
        assert first.ready()


# ---- Without root ----


def test_unix_paths_with_root_given_up_come_and_go_where_the_user_may_write(folder: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give root up")
    own = folder / "own"
    own.mkdir()
    os.chown(own, pwd.getpwnam(USER).pw_uid, -1)
    with endpoint("echo", "a", folder) as a:

        def text(*paths: Path) -> str:
            listeners = {path.stem: {"bind": f"unix:{path}", "pool": "web"} for path in paths}
            pools = {"web": {"endpoints": [f"127.0.0.1:{a.port}"]}}
            return configuration(workers=2, listeners=listeners, pools=pools, user=USER)

        first, second, foreign = own / "first.sock", own / "second.sock", folder / "foreign.sock"
        with running_lb(text(first), folder) as lb:
            assert first.owner() == USER, "so that it can be removed from a folder like /tmp"
            assert unix_echoes(first)
            lb.replace(text(first, second))
            assert lb.reload()["ok"]
            assert unix_echoes(second)
            lb.replace(text(first, second, foreign))
            answer = lb.reload()
            assert not answer["ok"]
            assert (
                f"listeners.foreign: cannot listen on unix:{foreign}: permission denied; "
                "lb's user may not make files in that folder: choose one that it owns"
            ) in answer["errors"][0]["message"]
            lb.replace(text(second))
            assert lb.reload()["ok"]
            eventually(lambda: not first.exists(), within_s=10, reason="the removed one is gone")
            throughout(lambda: unix_echoes(second), for_s=0.2, reason="the other serves")
            lb.signal(signal.SIGTERM)
            assert lb.wait(15, "it drains") == 0
            assert not second.exists()
