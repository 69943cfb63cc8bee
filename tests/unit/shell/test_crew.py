"""The crew keeps every listener served: whatever dies, falls silent, is reloaded or is told to go."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lb.core.commands import CloseSessions
from lb.model.address import Address
from lb.model.cause import Reason
from lb.model.listener import Listener
from lb.model.snapshot import Snapshot
from lb.shell.crew import CrewError, SnapshotRefused
from tests.support.async_waiting import until
from tests.support.connecting import is_refused
from tests.support.fake_crew import FakeCrew, ask, ask_many, refuses, workers_of
from tests.support.open_fds import open_fds
from tests.support.ports import free_port
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


@pytest.fixture
def web() -> Listener:
    return Listener("web", (Address("127.0.0.1", free_port()),), "pool")


def children() -> set[str]:
    """Also zombies."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


# ---- Starting ----


async def test_start_all_workers_serve(crew: FakeCrew) -> None:
    assert crew.states() == ["serving", "serving"]
    assert len(set(crew.pids())) == 2
    assert [worker.restarts_total for worker in crew.workers()] == [0, 0]


async def test_start_no_worker_can_start_says_how_they_ended(tmp_path: Path) -> None:
    before = children()
    crew = FakeCrew(tmp_path, exit=3)
    with pytest.raises(CrewError, match=r"no worker could start: exit code 3$"):
        await crew.start()
    assert children() == before
    await crew.end()


async def test_start_layout_differs_says_so_at_the_first_death(tmp_path: Path) -> None:
    crew = FakeCrew(tmp_path, exit=70)
    with pytest.raises(CrewError, match="the installed files changed; restart or upgrade lb"):
        await crew.start()
    assert len(crew.events("worker_lost")) <= 2
    await crew.end()


async def test_start_program_missing_says_so(tmp_path: Path) -> None:
    crew = FakeCrew(tmp_path)
    crew._lives._command = ("/nowhere/python",)
    with pytest.raises(CrewError, match="it cannot be started: No such file or directory"):
        await crew.start()
    await crew.end()


async def test_start_on_a_cpu_that_is_not_there_names_the_key(tmp_path: Path) -> None:
    """Defect: it said `Invalid argument: None`."""
    crew = FakeCrew(tmp_path)
    for slot in crew._slots:
        slot.cpu = 1023
    with pytest.raises(CrewError, match=r"it cannot be started: Invalid argument: workers\.cpus: 1023$"):
        await crew.start()
    await crew.end()


async def test_start_worker_that_never_answers_fails_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lb.shell.worker_lives.START_S_MAX", 0.5)
    before = children()
    crew = FakeCrew(tmp_path, mute=["started"])
    with pytest.raises(CrewError, match="no worker could start"):
        await crew.start()
    assert children() == before
    await crew.end()


async def test_start_one_worker_of_two_is_a_start(tmp_path: Path, web: Listener) -> None:
    crew = FakeCrew(tmp_path, fail_as=[0])
    await crew.start()
    assert crew.states()[1] == "serving"
    await crew.serve(web)
    served = await ask_many(web.binds[0])
    assert workers_of(served) == {1}
    assert served[0].sockets == 2
    await crew.end()


# ---- Serving ----


async def test_open_listener_is_served_by_every_worker(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    assert not crew.deaf
    served = await ask_many(web.binds[0])
    assert workers_of(served) == {0, 1}
    assert {(one.listener, one.generation, one.sockets) for one in served} == {(0, 1, 1)}


async def test_open_port_0_tells_the_real_address(crew: FakeCrew) -> None:
    await crew.serve(Listener("web", (Address("127.0.0.1", 0), Address("127.0.0.1", 0)), "pool"))
    first, second = crew.addresses()["web"]
    assert first != second
    for address in (first, second):
        assert workers_of(await ask_many(address)) == {0, 1}


async def test_open_listener_under_a_new_id_is_handed_over_again_without_closing(
    crew: FakeCrew, web: Listener
) -> None:
    await crew.serve(web)
    other = Listener("other", (Address("127.0.0.1", free_port()),), "pool")
    kept = await ask(web.binds[0])
    await crew.serve(other, web, generation=2)
    assert {one.listener for one in await ask_many(web.binds[0])} == {1}
    kept.session.close()


async def test_open_worker_that_does_not_acknowledge_is_replaced(
    tmp_path: Path, web: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lb.shell.crew.ANSWER_S_MAX", 0.2)
    crew = FakeCrew(tmp_path, mute=["listening"])
    await crew.start()
    before = crew.pids()
    crew.behave()
    await crew.serve(web)
    assert len(crew.events("worker_unresponsive")) == 2
    await until(lambda: len(crew.events("worker_lost")) == 2, "both died")
    await crew.all_serve()
    assert not set(before) & set(crew.pids())
    assert workers_of(await ask_many(web.binds[0])) == {0, 1}
    await crew.end()


async def test_open_socket_that_workers_cannot_take_is_offered_to_them_again(
    tmp_path: Path, web: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lb.shell.crew.LISTEN_AGAIN_S", 0.1)
    crew = FakeCrew(tmp_path, cannot_listen="no space")
    await crew.start()
    before = crew.pids()
    await crew.serve(web)
    assert [event["why"] for event in crew.events("worker_cannot_listen")] == ["no space"] * 2
    assert workers_of(await ask_many(web.binds[0])) == {0, 1}
    assert crew.pids() == before, "nobody's sessions were ended for it"
    assert len(crew.events("worker_cannot_listen")) == 2
    await crew.end()


async def test_failures_seen_by_a_worker_are_passed_on(crew: FakeCrew) -> None:
    """The fake worker answers every `close` so."""
    crew.close_sessions(CloseSessions(Reason.ENDPOINT_DOWN, endpoint_id=7))
    crew.close_sessions(CloseSessions(Reason.DRAINED, listener_id=0))
    await until(lambda: len(crew.failures) == 4, "both workers got both orders")
    assert crew.failures.count((7, {"endpoint endpoint_down": 1}, 3)) == 2
    assert crew.failures.count((0, {"listener drained": 1}, 3)) == 2


# ---- Publishing ----


async def test_publish_reaches_every_worker_and_each_that_starts_later(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    await crew.publish(Snapshot(2, (), (), ()))
    assert {one.generation for one in await ask_many(web.binds[0])} == {2}
    for pid in crew.pids():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: sum(worker.restarts_total for worker in crew.workers()) == 2, "both are replaced")
    await crew.all_serve()
    assert {one.generation for one in await ask_many(web.binds[0])} == {2}
    assert crew.snapshots_compiled == [1, 2]


async def test_publish_unacknowledged_kills_and_replaces_the_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lb.shell.crew.ANSWER_S_MAX", 0.2)
    crew = FakeCrew(tmp_path, mute=["published"])
    await crew.start()
    before = crew.pids()
    crew.behave()
    await crew.publish(Snapshot(1, (), (), ()))
    await until(lambda: len(crew.events("worker_lost")) == 2, "both died")
    await crew.all_serve()
    assert not set(before) & set(crew.pids())
    await crew.end()


async def test_publish_refused_by_a_replacement_it_does_not_serve(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    crew.behave(refuse="unsound")
    os.kill(crew.pids()[0], signal.SIGKILL)
    await until(lambda: len(crew.events("worker_lost")) >= 2, "the replacement was killed")
    assert workers_of(await ask_many(web.binds[0])) == {1}
    crew.behave()
    await crew.all_serve()
    assert {one.generation for one in await ask_many(web.binds[0])} == {1}


async def test_publish_refused_by_all_raises_and_changes_nothing(tmp_path: Path) -> None:
    crew = FakeCrew(tmp_path, refuse="endpoint 3 has no address")
    await crew.start()
    before, fds = crew.pids(), open_fds()
    with pytest.raises(SnapshotRefused, match="generation 5: endpoint 3 has no address"):
        await crew.publish(Snapshot(5, (), (), ()))
    assert crew.pids() == before
    assert open_fds() == fds
    await crew.end()


# ---- Death and replacement ----


async def test_worker_killed_nobody_is_refused_and_it_is_replaced_within_a_second(
    crew: FakeCrew, web: Listener
) -> None:
    await crew.serve(web)
    first, second = crew.pids()
    os.kill(first, signal.SIGKILL)
    served = await ask_many(web.binds[0])
    assert len(served) == 40
    await crew.all_serve()
    assert crew.pids()[1] == second
    assert crew.pids()[0] != first
    assert [worker.restarts_total for worker in crew.workers()] == [1, 0]
    assert crew.board.forgotten == [0]
    [lost] = crew.events("worker_lost")
    assert (lost["worker"], lost["pid"], lost["end"]) == (0, first, "signal 9 (SIGKILL)")
    assert lost["replaced_in_s"] == 0


async def test_worker_dead_its_queue_is_served_by_another_while_it_is_away(
    crew: FakeCrew, web: Listener
) -> None:
    """The trap: connections that the kernel steered to a dead worker's socket wait for ever."""
    await crew.serve(web)
    crew.behave(exit=3)
    os.kill(crew.pids()[0], signal.SIGKILL)
    served = await ask_many(web.binds[0])
    await until(lambda: len(crew.events("worker_lost")) >= 2, "its replacement died too")
    served += await ask_many(web.binds[0])
    assert 1 in workers_of(served)
    assert (await ask_many(web.binds[0], 5))[-1].sockets == 2
    assert not crew.deaf
    crew.behave()
    await crew.all_serve()
    served = await ask_many(web.binds[0])
    assert workers_of(served) == {0, 1}
    assert served[-1].sockets == 1, "the loan was called back"


async def test_worker_that_keeps_dying_is_replaced_ever_more_slowly(crew: FakeCrew) -> None:
    crew.behave(exit=3)
    os.kill(crew.pids()[0], signal.SIGKILL)
    await until(lambda: len(crew.events("worker_lost")) == 4, "it died four times")
    delays = [lost["replaced_in_s"] for lost in crew.events("worker_lost")]
    assert delays == [0, 0.1, 0.2, 0.4]


async def test_all_workers_dead_clients_wait_and_are_served_later(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    for pid in crew.pids():
        os.kill(pid, signal.SIGKILL)
    await until(lambda: crew.deaf == {"web"}, "nobody serves")
    served = await asyncio.gather(*(ask(web.binds[0]) for _ in range(20)))
    for one in served:
        one.session.close()
    await crew.all_serve()
    assert not crew.deaf


async def test_borrower_dies_too_somebody_else_stands_in(tmp_path: Path, web: Listener) -> None:
    crew = FakeCrew(tmp_path, count=3)
    await crew.start()
    await crew.serve(web)
    crew.behave(exit=3)
    os.kill(crew.pids()[0], signal.SIGKILL)
    await until(lambda: "dead" in crew.states(), "the first is away")
    os.kill(crew.workers()[1].pid or 0, signal.SIGKILL)
    await until(lambda: crew.states().count("serving") == 1, "the second is away")
    served = await ask_many(web.binds[0])
    assert 2 in workers_of(served)
    assert (await ask_many(web.binds[0], 1))[0].sockets == 3
    await crew.end()


async def test_no_zombie_is_left_when_workers_die(crew: FakeCrew) -> None:
    before = crew.pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await until(lambda: len(crew.events("worker_lost")) == 2, "both died")
    await crew.all_serve()
    assert not children() & set(map(str, before))


# ---- Silence ----


async def test_silent_worker_its_sockets_are_lent_and_given_back(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    stopped = crew.pids()[0]
    os.kill(stopped, signal.SIGSTOP)
    await until(lambda: crew.states() == ["silent", "serving"], "its silence was noticed")
    served = await ask_many(web.binds[0])
    assert workers_of(served) == {1}
    assert served[-1].sockets == 2
    assert not crew.deaf
    os.kill(stopped, signal.SIGCONT)
    await crew.all_serve()
    assert crew.pids()[0] == stopped, "it was not replaced"
    served = await ask_many(web.binds[0])
    assert workers_of(served) == {0, 1}
    assert served[-1].sockets == 1
    assert [len(crew.events(name)) for name in ("worker_silent", "worker_recovered")] == [1, 1]


async def test_silent_worker_that_misses_a_snapshot_is_replaced(
    crew: FakeCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lb.shell.crew.ANSWER_S_MAX", 0.2)
    stopped = crew.pids()[0]
    os.kill(stopped, signal.SIGSTOP)
    await crew.publish(Snapshot(1, (), (), ()))
    await until(lambda: crew.events("worker_lost"), "it was killed")
    await crew.all_serve()
    assert stopped not in crew.pids()


# ---- Listeners that leave ----


async def test_removed_listener_refuses_within_a_second_and_its_sessions_stay(
    crew: FakeCrew, web: Listener
) -> None:
    """The trap: a worker's copy of the descriptor goes on accepting what the configuration no longer has."""
    await crew.serve(web)
    session = await ask(web.binds[0])
    await crew.close_absent([])
    await until(lambda: crew.events("listener_closed"), "it was closed", within_s=1.0)
    assert is_refused(web.binds[0], timeout_s=0.5)
    assert crew.events("listener_closed")[0]["connections_lost"] == 0
    assert session.session.fileno() != -1
    with pytest.raises(BlockingIOError):
        session.session.recv(1)
    session.session.close()
    assert f":{web.binds[0].port:04X} 00000000:0000 0A" not in Path("/proc/net/tcp").read_text()


async def test_removed_listener_that_comes_back_is_served_again(crew: FakeCrew, web: Listener) -> None:
    for generation in range(1, 6):
        await crew.serve(web, generation=generation)
        assert workers_of(await ask_many(web.binds[0])) == {0, 1}
        await crew.close_absent([])


async def test_reloads_under_load_refuse_nobody(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    done = asyncio.Event()

    async def clients() -> int:
        count = 0
        while not done.is_set():
            (await ask(web.binds[0])).session.close()
            count += 1
        return count

    asking = asyncio.create_task(clients())
    for generation in range(2, 22):
        other = Listener(f"other{generation}", (Address("127.0.0.1", 0),), "pool")
        await crew.serve(*((other, web) if generation % 2 else (web, other)), generation=generation)
    done.set()
    assert await asking > 0


# ---- Draining and stopping ----


async def test_drain_without_sessions_ends_every_worker_by_itself(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    assert await crew.drain(5.0) == 0
    assert crew.pids() == []
    await refuses(web.binds[0])
    assert not crew.events("worker_lost")


async def test_drain_waits_for_sessions_and_refuses_new_ones(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    session = await ask(web.binds[0])
    draining = asyncio.create_task(crew.drain(10.0))
    await refuses(web.binds[0])
    assert not draining.done()
    session.session.close()
    assert await draining == 0


async def test_drain_at_its_deadline_cuts_what_is_left_and_counts_it(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    sessions = [await ask(web.binds[0]) for _ in range(5)]
    assert await crew.drain(0.3) == 5
    for one in sessions:
        one.session.close()


async def test_drain_worker_that_does_not_end_is_killed_and_its_sessions_count(
    tmp_path: Path, web: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lb.shell.crew.DRAIN_GRACE_S", 0.1)
    crew = FakeCrew(tmp_path, linger=True)
    await crew.start()
    await crew.serve(web)
    sessions = [await ask(web.binds[0]) for _ in range(3)]
    assert await crew.drain(0.2) == 3
    for one in sessions:
        one.session.close()
    await crew.end()


async def test_stop_while_draining_ends_it_now(crew: FakeCrew, web: Listener) -> None:
    await crew.serve(web)
    session = await ask(web.binds[0])
    draining = asyncio.create_task(crew.drain(60.0))
    await refuses(web.binds[0])
    await crew.stop()
    assert await asyncio.wait_for(draining, 1.0) == 1
    session.session.close()


async def test_stop_leaves_no_process_and_no_descriptor(tmp_path: Path, web: Listener) -> None:
    processes, fds = children(), open_fds()
    crew = FakeCrew(tmp_path)
    await crew.start()
    await crew.serve(web)
    await crew.end()
    await crew.stop()
    assert children() == processes
    assert open_fds() == fds


async def test_stop_worker_that_does_not_end_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lb.shell.crew.STOP_S_MAX", 0.2)
    before = children()
    crew = FakeCrew(tmp_path, linger=True)
    await crew.start()
    await crew.end()
    assert children() == before


async def test_stop_while_a_worker_is_being_replaced_leaves_none(crew: FakeCrew) -> None:
    crew.behave(exit=3)
    os.kill(crew.pids()[0], signal.SIGKILL)
    await until(lambda: len(crew.events("worker_lost")) >= 3, "it dies again and again")
    await crew.stop()
    assert crew.pids() == []
    assert crew.states() == ["dead", "dead"]
