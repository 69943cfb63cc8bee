"""The command line and the HTTP interface beside a running lb, as an operator's first five minutes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import urllib.request
from pathlib import Path

from tests.support.endpoints import endpoints, ports_of
from tests.support.lb_process import LB, LbProcess, one_pool, running_lb
from tests.support.ports import free_port
from tests.support.sessions import many
from tests.support.waiting import eventually, throughout


def test_commands_show_and_order_what_runs(folder: Path) -> None:
    port = free_port()
    with endpoints("echo", "a b", folder) as started:
        text = one_pool(port, ports_of(started), pool={"check": {"type": "tcp"}}, workers=1)
        with running_lb(text, folder) as lb, many(port, 4):
            shown = lb.command("status")
            assert shown.returncode == 0, shown
            assert f"127.0.0.1:{port}" in shown.stdout
            assert "\x1b[" not in shown.stdout  # a pipe is no terminal
            status = json.loads(lb.command("status", "--json").stdout)
            assert [one["sessions_open"] for one in status["pools"][0]["endpoints"]] == [2, 2]

            assert lb.command("maint", "web/b").returncode == 0
            assert lb.endpoint("b")["admin"] == "MAINT"
            ordered_s = time.time()
            throughout(lambda: last_probe_s(lb) < ordered_s, for_s=1.5, reason="nobody probes it")
            assert lb.command("ready", "web/b", "--wait").returncode == 0
            assert lb.endpoint("b")["eligible"] is True

            told = lb.command("events")
            assert told.returncode == 0, told
            assert "MAINT" in told.stdout
            admin = [event for event in lb.events("endpoint_changed") if event["axis"] == "admin"]
            assert [event["to"] for event in admin] == ["MAINT", "READY"]


def last_probe_s(lb: LbProcess) -> float:
    last = lb.endpoint("b")["checks"][0]["last"]
    return last["at"] if last else 0.0


def test_commands_without_a_running_lb_say_so_with_code_3(folder: Path) -> None:
    for words in (["status"], ["reload"], ["drain", "web/a"]):
        done = subprocess.run(
            [str(LB), *words],
            env=os.environ | {"LB_ADMIN_SOCKET": str(folder / "nobody.sock")},
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 3, (words, done)
        assert "nobody.sock" in done.stderr, (words, done)


def test_admin_over_tcp_answers_every_page(folder: Path) -> None:
    port, admin = free_port(), free_port()
    with endpoints("echo", "a", folder) as started:
        text = one_pool(port, ports_of(started), workers=1, admin={"bind": f"127.0.0.1:{admin}"})
        with running_lb(text, folder):
            for page in ("live", "ready", "metrics", *(f"api/v1/{name}" for name in PAGES)):
                with urllib.request.urlopen(f"http://127.0.0.1:{admin}/{page}", timeout=5) as answer:
                    assert answer.status == 200, page
                    body = answer.read().decode()
                if page == "metrics":
                    assert "lb_build_info" in body
                elif page.startswith("api") and not page.endswith("config"):
                    json.loads(body)


PAGES = ("status", "pools", "pools/web", "listeners", "workers", "config", "openapi.json")


def test_reload_of_the_same_file_changes_nothing(folder: Path) -> None:
    """By order, by signal and by saving it again: the generation stays, and so does every session."""
    port = free_port()
    with endpoints("echo", "a b", folder) as started:
        text = one_pool(port, ports_of(started), workers=1)
        with running_lb(text, folder) as lb, many(port, 4):
            generation = lb.status()["generation"]
            answer = lb.reload()
            assert answer["ok"], answer
            assert answer["changed"] == []
            lb.signal(signal.SIGHUP)
            lb.replace(text)
            throughout(
                lambda: lb.status()["generation"] == generation,
                for_s=1,
                reason="the generation stays the same",
            )
            eventually(
                lambda: lb.status()["listeners"][0]["sessions_open"] == 4,
                within_s=2,
                reason="none was touched",
            )
