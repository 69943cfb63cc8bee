"""What nobody waits for does not fail in silence."""

from __future__ import annotations

import asyncio
from typing import Any

from lb.shell.unattended import unattended


async def test_task_that_fails_is_told_though_it_is_kept() -> None:
    """Defect: the life of a worker that failed ended it for good, without a word."""
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    error = ValueError("a defect")

    async def fails() -> None:
        raise error

    task = unattended(fails(), "the life of worker 0")
    await asyncio.wait([task])
    assert [(context["message"], context["exception"]) for context in told] == [
        ("the life of worker 0 ended", error)
    ]


async def test_task_that_is_cancelled_is_not_told() -> None:
    told: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
    task = unattended(asyncio.Event().wait(), "wait")  # type: ignore[arg-type]
    task.cancel()
    await asyncio.wait([task])
    assert told == []
