"""Waiting for a time in which this process could have noticed.

A process that is late itself (its loop is busy with something else, its machine at the limit) hears late of every answer. A probe's
deadline that does not know this takes all sites for dead at once, in the moment in which most depends on them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

LONGEST = 4.0
"""In whose worth of seconds waiting ends whatever this process was late by: a dead site has to be found out some time."""
_SLICES = 8


async def within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Await ``work``. Raises what it raises, and TimeoutError when it has not ended after ``seconds``.

    What this process was late by does not count; it shows in when it wakes from slices of the wait.
    """
    loop = asyncio.get_running_loop()
    task, begun, late = asyncio.ensure_future(work), loop.time(), 0.0
    try:
        while not task.done():
            passed = loop.time() - begun
            left = seconds - (passed - late)
            if left <= 0 or passed >= LONGEST * seconds:
                raise TimeoutError
            due = loop.time() + min(left, seconds / _SLICES)
            await asyncio.wait({task}, timeout=due - loop.time())
            late += max(0.0, loop.time() - due)
        await task
    finally:
        task.cancel()


@asynccontextmanager
async def own_timeout(seconds: float) -> AsyncIterator[None]:
    """As ``asyncio.timeout``, and what this process was late by does not count. Cheaper than ``within``: no task."""
    loop = asyncio.get_running_loop()
    end, last = loop.time() + seconds, loop.time() + LONGEST * seconds
    watch: asyncio.TimerHandle | None = None

    def look(due: float) -> None:
        nonlocal end, watch
        now = loop.time()
        end = min(end + now - due, last)
        if not limit.expired():
            limit.reschedule(end)
            watch = loop.call_at(now + seconds / _SLICES, look, now + seconds / _SLICES)

    async with asyncio.timeout_at(end) as limit:
        look(loop.time())
        try:
            yield
        finally:
            if watch is not None:
                watch.cancel()
