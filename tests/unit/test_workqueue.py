"""The work queue: one wait, one run per key; a change during a run is looked at again; failures back off."""

from __future__ import annotations

import asyncio
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from cascade.model.errors import SiteUnreachable, Terminal
from cascade.reconcile.workqueue import WorkQueue


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_key_waits_once_and_runs_once() -> None:
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)

    queue: WorkQueue[str] = WorkQueue(work)
    for _ in range(3):
        queue.add("a")
    queue.add("b")
    await queue.drain()
    assert seen == ["a", "b"] and len(queue) == 0


async def test_added_while_running_runs_again_after() -> None:
    gate, running, seen = asyncio.Event(), 0, 0

    async def work(_: str) -> None:
        nonlocal running, seen
        running += 1
        assert running == 1
        seen += 1
        await gate.wait()
        running -= 1

    queue: WorkQueue[str] = WorkQueue(work)
    queue.add("a")
    queue.tick()
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("a")
    gate.set()
    await queue.drain()
    assert seen == 2


async def test_failures_back_off_with_jitter_and_reset() -> None:
    clock, times, fail = Clock(), [], True

    async def work(_: str) -> None:
        times.append(clock.now)
        if fail:
            raise SiteUnreachable("tokyo", "down")

    queue: WorkQueue[str] = WorkQueue(work, clock=clock, jitter=lambda: 1.0, base=1.0, cap=8.0)
    queue.add("a")
    for _ in range(6):
        await queue.drain()
        clock.now += queue.tick() or 0.0
    assert times == [0, 1, 3, 7, 15, 23]  # 1, 2, 4, 8, then the cap
    fail = False
    await queue.drain()
    assert queue.failures("a") == 0 and len(queue) == 0


async def test_looks_again_when_asked_and_terminal_is_given_up() -> None:
    clock, seen = Clock(), Counter[str]()

    async def work(key: str) -> float | None:
        seen[key] += 1
        if key == "bad":
            raise Terminal("other shape")
        return 5.0 if seen[key] == 1 else None

    queue: WorkQueue[str] = WorkQueue(work, clock=clock)
    queue.add("a")
    queue.add("bad")
    await queue.drain()
    assert queue.tick() == 5.0
    queue.add("a", 60)  # later than what waits: no change
    assert queue.tick() == 5.0
    clock.now = 5
    await queue.drain()
    assert seen == {"a": 2, "bad": 1} and len(queue) == 0


async def test_a_bug_does_not_stop_the_queue() -> None:
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)
        if key == "a":
            raise ZeroDivisionError

    queue: WorkQueue[str] = WorkQueue(work, limit=1)
    queue.add("a")
    queue.add("b")
    await queue.drain()
    assert seen == ["a", "b"] and queue.failures("a") == 1


async def test_run_works_until_cancelled() -> None:
    done = asyncio.Event()

    async def work(_: str) -> float | None:
        done.set()
        return None

    queue: WorkQueue[str] = WorkQueue(work)
    task = asyncio.create_task(queue.run())
    await asyncio.sleep(0)
    queue.add("a")
    await asyncio.wait_for(done.wait(), 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["add", "tick", "advance", "finish", "fail"]), st.integers(0, 4))))
def test_every_change_is_seen_by_a_later_look(steps: list[tuple[str, int]]) -> None:
    """Whatever the interleaving: never two runs of a key, never more than the limit, no change unseen at the end."""

    async def play() -> None:
        clock, version, looked = Clock(), Counter[int](), Counter[int]()
        gates: dict[int, asyncio.Future[bool]] = {}

        async def work(key: int) -> float | None:
            assert key not in gates and len(gates) < 2
            gates[key] = asyncio.get_running_loop().create_future()
            began = version[key]
            try:
                ok = True if ending else await gates[key]
            finally:
                del gates[key]
            if not ok:
                raise SiteUnreachable("x", "y")
            looked[key] = began
            return None

        ending = False
        queue: WorkQueue[int] = WorkQueue(work, limit=2, clock=clock)
        for what, key in steps:
            if what == "add":
                version[key] += 1
                queue.add(key, key * 0.5)
            elif what == "tick":
                queue.tick()
            elif what == "advance":
                clock.now += key
            elif key in gates and not gates[key].done():
                gates[key].set_result(what == "finish")
            for _ in range(3):
                await asyncio.sleep(0)
        ending = True
        for gate in gates.values():
            if not gate.done():
                gate.set_result(True)
        for _ in range(200):
            await queue.drain()
            if not len(queue):
                break
            clock.now += 1000
        assert not len(queue) and all(looked[k] == v for k, v in version.items())

    asyncio.run(play())


async def test_hurry_ends_the_pause_of_what_passes() -> None:
    clock, seen, away = Clock(), Counter[str](), True

    async def work(key: str) -> None:
        seen[key] += 1
        if away:
            raise SiteUnreachable(key, "down")

    queue: WorkQueue[str] = WorkQueue(work, clock=clock, base=100)
    queue.add("paris")
    queue.add("tokyo")
    await queue.drain()
    away = False
    queue.hurry(lambda key: key == "tokyo")
    await queue.drain()
    assert seen == {"paris": 1, "tokyo": 2} and len(queue) == 1


async def test_settled_waits_for_the_last_look_and_tells_how_it_ended() -> None:
    gate, fail = asyncio.Event(), True

    async def work(_: str) -> None:
        await gate.wait()
        if fail:
            raise SiteUnreachable("x", "down")

    queue: WorkQueue[str] = WorkQueue(work)
    assert await queue.settled("a", 1.0)  # nothing to wait for
    queue.add("a")
    assert not await queue.settled("a", 0.01)  # not within that time
    task = asyncio.create_task(queue.settled("a", 5.0))
    drain = asyncio.create_task(queue.drain())
    await asyncio.sleep(0)
    queue.add("a")  # a change during the look: its end is not the one waited for
    gate.set()
    await drain
    assert not await task
    fail = False
    queue.forget("a")
    queue.add("a")
    task = asyncio.create_task(queue.settled("a", 5.0))
    await queue.drain()
    assert await task
