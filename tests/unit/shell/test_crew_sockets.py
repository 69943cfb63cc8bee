"""Sockets that are not one for each worker, and a great many of those that are."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lb.model.address import Address, UnixAddress
from lb.model.listener import Listener
from tests.support.async_waiting import until
from tests.support.fake_crew import FakeCrew, ask, ask_many, refuses
from tests.support.ports import own_host
from tests.support.source import ROOT


@pytest.fixture(autouse=True)
def _workers_find_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
async def crew(tmp_path: Path) -> AsyncIterator[FakeCrew]:
    """Two workers that serve."""
    made = FakeCrew(tmp_path)
    await made.start()
    yield made
    await made.end()


# ---- Paths ----


@pytest.fixture
def at_path(tmp_path: Path) -> Listener:
    return Listener("web", (UnixAddress(str(tmp_path / "web.sock")),), "pool")


async def test_path_every_worker_accepts_from_the_same_socket(crew: FakeCrew, at_path: Listener) -> None:
    await crew.serve(at_path)
    served = await ask_many(at_path.binds[0])
    assert {one.sockets for one in served} == {1}
    for pid in crew.pids():
        os.kill(pid, signal.SIGSTOP)
        assert pid not in {one.pid for one in await ask_many(at_path.binds[0], 3)}, "the other serves"
        os.kill(pid, signal.SIGCONT)


async def test_path_of_a_killed_worker_is_served_by_the_others_without_a_loan(
    crew: FakeCrew, at_path: Listener
) -> None:
    await crew.serve(at_path)
    killed = crew.pids()[0]
    os.kill(killed, signal.SIGKILL)
    served = await ask_many(at_path.binds[0])
    assert killed not in {one.pid for one in served}
    assert {one.sockets for one in served} == {1}
    await until(lambda: crew.events("worker_lost"), "its end was noticed")
    await crew.all_serve()


async def test_path_removed_refuses_at_once_and_its_sessions_stay(crew: FakeCrew, at_path: Listener) -> None:
    await crew.serve(at_path)
    session = await ask(at_path.binds[0])
    await crew.close_absent([])
    await asyncio.sleep(0)  # the end begins in the next turn of the loop
    with pytest.raises(FileNotFoundError):
        await ask(at_path.binds[0])
    await until(lambda: crew.events("listener_closed"), "it was closed")
    assert crew.events("listener_closed")[0]["connections_lost"] == 0
    with pytest.raises(BlockingIOError):
        session.session.recv(1)
    session.session.close()


async def test_path_that_cannot_be_removed_is_told(
    crew: FakeCrew, at_path: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(self: Path, *words: object) -> None:
        raise PermissionError(13, "Permission denied")

    await crew.serve(at_path)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refused)
        patch.setattr(Path, "rename", refused)
        await crew.close_absent([])
        await until(lambda: crew.events("listener_closed"), "it was closed")
    [event] = crew.events("socket_file_left")
    assert event == {"listener": "web", "address": str(at_path.binds[0]), "error": "permission denied"}


# ---- Ranges of ports ----


async def test_thousand_ports_are_served_by_every_worker_moved_and_closed(crew: FakeCrew) -> None:
    """The trap: a message for each fills the channel, and the worker is taken for one that does not read."""
    host = own_host()
    before = [Address(host, port) for port in range(20000, 21000)]
    after = [Address(host, port) for port in range(21000, 22000)]
    pids = crew.pids()
    await crew.serve(Listener("web", tuple(before), "pool"))
    for address in before[::99]:
        one = await ask(address)
        assert one.sockets == 1000
        one.session.close()
    await crew.serve(Listener("web", tuple(after), "pool"), generation=2)
    for address in before[::99]:
        await refuses(address, within_s=30.0)
    for address in after[::99]:
        (await ask(address)).session.close()
    assert crew.pids() == pids
    assert sum(event["connections_lost"] for event in crew.events("listener_closed")) == 0
    assert not crew.events("worker_lost")


async def test_range_of_ports_is_told_as_one(crew: FakeCrew) -> None:
    host = own_host()
    await crew.serve(Listener("web", tuple(Address(host, port) for port in range(20000, 20010)), "pool"))
    assert crew.events("listener_opened") == [{"listener": "web", "address": f"{host}:20000-20009"}]
    await crew.stop()
    assert crew.events("listener_closed") == [
        {"listener": "web", "address": f"{host}:20000-20009", "connections_lost": 0}
    ]


async def test_worker_that_stands_in_holds_the_sockets_of_a_thousand_ports_twice(crew: FakeCrew) -> None:
    host = own_host()
    web = Listener("web", tuple(Address(host, port) for port in range(20000, 21000)), "pool")
    await crew.serve(web)
    os.kill(crew.pids()[0], signal.SIGSTOP)
    await until(lambda: "silent" in crew.states(), "it fell silent")
    served = await ask_many(web.binds[500], 10)
    assert {one.sockets for one in served} == {2000}
    os.kill(crew.pids()[0], signal.SIGCONT)
    await crew.all_serve()
    assert not crew.events("worker_lost")
