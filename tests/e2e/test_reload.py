"""Reloads under load: nothing is refused or reset, nobody who rests is touched, nothing is left behind."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.support.endpoints import endpoint, endpoints, ports_of
from tests.support.lb_process import LbProcess, configuration, one_pool, running_lb
from tests.support.load import exchanges, storm, storm_endpoints
from tests.support.ports import free_port
from tests.support.scale import Scale
from tests.support.sessions import echoes, is_refused, many
from tests.support.vitals import Vitals, vitals
from tests.support.waiting import eventually, throughout

RATE_WANTED = 2000
RATE_MIN = 1000  # of a machine that is busy with other things too
MEMORY_GROWTH_MAX = 1.1
MEMORY_SLACK_BYTES = 4 << 20


def text_with(web: dict[str, int], idle: dict[str, int], web_port: int, idle_port: int) -> str:
    def members(ports: dict[str, int]) -> list[dict[str, str]]:
        return [{"name": name, "address": f"127.0.0.1:{port}"} for name, port in ports.items()]

    return configuration(
        workers=2,
        log={"access": "off", "format": "json"},
        listeners={
            "web": {"bind": f"127.0.0.1:{web_port}", "pool": "web"},
            "idle": {"bind": f"127.0.0.1:{idle_port}", "pool": "idle"},
        },
        pools={
            "web": {"endpoints": members(web), "check": {"type": "tcp"}},
            "idle": {"endpoints": members(idle)},
        },
    )


def test_reloads_under_load_refuse_none_and_keep_idle_sessions(folder: Path, scale: Scale) -> None:
    reloads, seconds = scale.of(full=100, ci=30), scale.of(full=20, ci=6)
    web_port, idle_port = free_port(), free_port()
    with (
        storm_endpoints("reply", "a b c", folder) as web,
        endpoint("echo", "e", folder) as echo,
        endpoint("echo", "f", folder) as other,
    ):
        few = text_with({name: web[name] for name in "ab"}, {"e": echo.port}, web_port, idle_port)
        more = text_with(web, {"e": echo.port, "f": other.port}, web_port, idle_port)
        with running_lb(few, folder) as lb, many(idle_port, 1000) as idle:
            with storm("connect", web_port, folder, sessions=64, seconds=1) as warm_up:
                assert not warm_up.errors
            before = vitals(lb.process.family())
            with storm("connect", web_port, folder, sessions=64, seconds=seconds) as load:
                slowest_s = reload_at_a_pace(lb, [more, few], reloads, seconds)
                errors, per_s = load.errors, load.per_s
            after = settled(lb, before)
            print(
                f"\n{per_s:.0f} connections/s ({load.result['operations']}), {reloads} reloads, "
                f"the slowest {1000 * slowest_s:.0f} ms, errors {errors}; before: {before}; after: {after}"
            )
            dead = sum(not echoes(connection) for connection in idle)
            assert (errors, dead) == ({}, 0)
            assert per_s > RATE_MIN
            assert after.memory_bytes < before.memory_bytes * MEMORY_GROWTH_MAX + MEMORY_SLACK_BYTES
            assert lb.metrics().sum("lb_config_generation") >= reloads


def reload_at_a_pace(lb: LbProcess, texts: list[str], reloads: int, seconds: float) -> float:
    """Spread over the time of the load; the way of asking changes, too. Returns the slowest, in seconds."""
    start_s, slowest_s = time.monotonic(), 0.0
    for number in range(reloads):
        due_s = start_s + seconds * number / reloads
        eventually(lambda: time.monotonic() >= due_s, within_s=seconds, reason="the next reload is due")  # noqa: B023
        lb.replace(texts[number % len(texts)])
        asked_s = time.monotonic()
        if number % 10 == 9:
            done = lb.command("reload")
            assert done.returncode == 0, done
        else:
            answer = lb.reload()
            assert answer["ok"], answer
            slowest_s = max(slowest_s, time.monotonic() - asked_s)
    return slowest_s


def settled(lb: LbProcess, before: Vitals) -> Vitals:
    """The load is over: as many processes and descriptors as there were (a probe may be under way)."""
    last = before

    def as_before() -> bool:
        nonlocal last
        last = vitals(lb.process.family())
        return last.processes == before.processes and abs(last.descriptors - before.descriptors) <= 3

    try:
        eventually(as_before, within_s=10, reason="all is as before")
    except AssertionError:
        pytest.fail(f"before: {before}; after: {last}")
    return last


@pytest.mark.parametrize("way", ["in place", "by rename", "by symlink"])
def test_file_saved_is_noticed_without_an_order(way: str, folder: Path) -> None:
    """By symlink: as Kubernetes swaps a mounted ConfigMap."""
    port = free_port()
    with endpoint("http", "a", folder) as a, endpoint("http", "b", folder) as b:

        def text(**ports: int) -> str:
            return configuration(
                workers=1,
                listeners={"web": {"bind": f"127.0.0.1:{port}", "pool": "web"}},
                pools={
                    "web": {"endpoints": [{"name": n, "address": f"127.0.0.1:{p}"} for n, p in ports.items()]}
                },
            )

        if way == "by symlink":
            (folder / "v1").mkdir()
            (folder / "v1" / "lb.yaml").touch()
            (folder / "..data").symlink_to("v1")
            (folder / "lb.yaml").symlink_to("..data/lb.yaml")
        with running_lb(text(a=a.port), folder) as lb:
            assert lb.endpoint("b") == {}
            if way == "in place":
                lb.write(text(a=a.port, b=b.port))
            elif way == "by rename":
                lb.replace(text(a=a.port, b=b.port))
            else:
                (folder / "v2").mkdir()
                (folder / "v2" / "lb.yaml").write_text(lb.complete(text(a=a.port, b=b.port)))
                (folder / "..data_new").symlink_to("v2")
                (folder / "..data_new").rename(folder / "..data")
            start_s = time.monotonic()
            eventually(lambda: lb.endpoint("b"), within_s=5, reason="the new endpoint is there")
            print(f"\nsaved {way}: applied after {time.monotonic() - start_s:.2f} s")


def test_reload_keeps_what_is_known_of_an_endpoint(folder: Path) -> None:
    """One of three is DOWN: through ten reloads that change other things it is never given a session."""
    port = free_port()
    with endpoints("http", "a b c", folder) as started:
        ports = ports_of(started)

        def text(number: int) -> str:
            pool = {"check": {"type": "tcp"}, "connect": {"timeout": f"{1000 + number}ms"}}
            return one_pool(port, ports, pool=pool, workers=2)

        started["c"].kill()
        with running_lb(text(0), folder) as lb:
            eventually(lambda: lb.health("c") == "DOWN", within_s=6, reason="c is DOWN")
            before = len(lb.whole_access())
            with exchanges(port, folder, threads=4) as client:
                for number in range(1, 11):
                    lb.replace(text(number))
                    answer = lb.reload()
                    assert answer["ok"], answer
                    assert answer["changed"], "the reload was to change something"
                    assert lb.health("c") == "DOWN"
            assert not client.failures
            lines = lb.whole_access()[before:]
            assert not [line for line in lines if any(one["endpoint"] == "c" for one in line["attempts"])]


def test_listener_removed_under_load_refuses_and_resets_nobody(folder: Path) -> None:
    """Whoever connected is served, whoever comes later is refused; taken back, it serves as before.

    As an ordinary user: what an lb that has given up root may do with its sockets is less.
    """
    stays, leaves = free_port(), free_port()
    user = "nobody" if os.geteuid() == 0 else None
    home = folder / "lb"
    home.mkdir()
    with endpoints("http", "a b", folder) as started:

        def text(*ports: int) -> str:
            listeners = {f"on-{port}": {"bind": f"127.0.0.1:{port}", "pool": "web"} for port in ports}
            members = [f"127.0.0.1:{port}" for port in ports_of(started).values()]
            return configuration(workers=2, listeners=listeners, pools={"web": {"endpoints": members}})

        with running_lb(text(stays, leaves), home, user=user) as lb, exchanges(stays, folder) as other:
            for _ in range(3):
                with exchanges(leaves, folder) as client:
                    throughout(lb.ready, for_s=0.3, reason="it serves")
                    lb.replace(text(stays))
                    assert lb.reload()["ok"]
                    removed_s = time.monotonic()
                    eventually(lambda: is_refused(leaves), within_s=5, reason="the removed port refuses")
                    refused_s = time.monotonic() - removed_s
                print(
                    f"\n{client.exchanges} exchanges, refused after {refused_s:.2f} s, {dict(client.kinds())}"
                )
                assert client.exchanges > 100
                assert set(client.kinds()) <= {"connect refused"}
                lb.replace(text(stays, leaves))
                assert lb.reload()["ok"]
                assert not is_refused(leaves)
    assert not other.failures
