"""One look serves everybody, and never one that began before it was asked for."""

from __future__ import annotations

import asyncio
import threading

import pytest

from lb.shell.lookout import Lookout
from lb.shell.sock_diag import Handshake
from tests.support.async_waiting import until

IN_TIME_S = 10.0


class Looks:
    """Looks that end when they are told to; the n-th finds n handshakes."""

    def __init__(self) -> None:
        self.begun = 0
        self.may_end = threading.Semaphore(0)

    def __call__(self, netns: str | None = None) -> frozenset[Handshake]:
        self.begun += 1
        found = frozenset(Handshake(b"", number, b"", 0) for number in range(self.begun))
        assert self.may_end.acquire(timeout=IN_TIME_S)
        return found


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    made = Looks()
    monkeypatch.setattr("lb.shell.lookout.handshakes", made)
    return made


async def test_look_asked_together_is_made_once(looks: Looks) -> None:
    lookout = Lookout()
    asking = [asyncio.create_task(lookout.look()) for _ in range(100)]
    looks.may_end.release()
    assert {len(found) for found in await asyncio.gather(*asking)} == {1}


async def test_look_asked_while_one_is_under_way_begins_after_it(looks: Looks) -> None:
    lookout = Lookout()
    first = asyncio.create_task(lookout.look())
    await until(lambda: looks.begun == 1, "the first began")
    later = [asyncio.create_task(lookout.look()) for _ in range(100)]
    looks.may_end.release(2)
    assert len(await first) == 1
    assert {len(found) for found in await asyncio.gather(*later)} == {2}


async def test_look_given_up_by_one_still_answers_the_others(looks: Looks) -> None:
    lookout = Lookout()
    one, other = (asyncio.create_task(lookout.look()) for _ in range(2))
    await until(lambda: looks.begun == 1, "it began")
    one.cancel()
    looks.may_end.release()
    assert len(await other) == 1
    assert one.cancelled()


async def test_look_without_a_double_sees_this_machine() -> None:
    assert isinstance(await Lookout().look(), frozenset)
