"""A probe's deadline does not count what this process itself was late by."""

from __future__ import annotations

import asyncio
import time

import pytest

from cascade.sites.owntime import LONGEST, own_timeout, within


async def _late(seconds: float, for_: float) -> None:
    """A loop that is held up again and again."""
    end = time.monotonic() + for_
    while time.monotonic() < end:
        time.sleep(seconds)  # noqa: ASYNC251 - a loop held up is what this is about
        await asyncio.sleep(0)


async def test_an_answer_in_time() -> None:
    await within(0.2, asyncio.sleep(0.01))


async def test_what_it_raises() -> None:
    async def refused() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await within(0.2, refused())


async def test_no_answer() -> None:
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await within(0.1, asyncio.sleep(60))
    assert 0.1 <= time.monotonic() - begun < 0.1 * LONGEST


async def test_a_late_process_blames_nobody() -> None:
    """The answer is there long before the deadline, and takes ten turns of the loop to be noticed."""

    async def answer() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    busy = asyncio.create_task(_late(0.05, 1.0))
    await within(0.3, answer())  # ten turns of 0.05 s
    await busy


async def test_a_dead_site_is_found_out_by_a_late_process_too() -> None:
    busy = asyncio.create_task(_late(0.05, 1.5))
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        await within(0.2, asyncio.sleep(60))
    assert time.monotonic() - begun < 0.2 * LONGEST + 0.5
    await busy


async def test_who_gives_up_leaves_nothing_behind() -> None:
    gone = asyncio.Event()

    async def hangs() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            gone.set()

    waiting = asyncio.create_task(within(60, hangs()))
    await asyncio.sleep(0.01)
    waiting.cancel()
    await asyncio.wait_for(gone.wait(), 1)


@pytest.mark.parametrize("late", [False, True])
async def test_a_timeout_ends_what_does_not_end(late: bool) -> None:
    busy = asyncio.create_task(_late(0.05, 1.5) if late else asyncio.sleep(0))
    begun = time.monotonic()
    with pytest.raises(TimeoutError):
        async with own_timeout(0.2):
            await asyncio.sleep(60)
    assert 0.2 <= time.monotonic() - begun < (0.2 * LONGEST + 0.5 if late else 0.4)
    await busy


@pytest.mark.parametrize("stall", [0.05, 0.5])
async def test_a_timeout_does_not_count_what_the_process_was_late_by(stall: float) -> None:
    busy = asyncio.create_task(_late(stall, 0.5))
    async with own_timeout(0.3):
        for _ in range(10):
            await asyncio.sleep(0)
    await busy
