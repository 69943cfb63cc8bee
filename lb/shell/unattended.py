"""A task that nobody waits for, though something depends on it: that it failed is told at once.

asyncio tells of an exception that nobody asked for when the task is collected. Whoever keeps the task, to
cancel it one day, keeps it from being collected, and the failure from being told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def unattended(work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
    """The loop's exception handler hears of a failure: in lb it becomes the event `bug` (runner.py)."""
    task = asyncio.create_task(work, name=name)
    task.add_done_callback(_tell)
    return task


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        context = {"message": f"{task.get_name()} ended", "exception": error, "task": task}
        task.get_loop().call_exception_handler(context)
