"""Places and whose turn it is: bounds, fairness and the account after everybody went, whatever happens in whatever order."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cascade.sites.turns import Full, Reason, Turns

LINES = st.sampled_from(["a", "b", "c", "d"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("come"), LINES),
        st.tuples(st.just("sure"), LINES),
        st.tuples(st.just("go"), st.integers(0, 40)),  # somebody, inside or waiting, is cancelled: before or after his turn is told
        st.tuples(st.just("end"), st.integers(0, 40)),
        st.tuples(st.just("tick"), st.just(0)),
    ),
    max_size=120,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Room:
    """Tasks that want in, and who is inside."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.inside: Counter[str] = Counter()
        self.tasks: list[tuple[asyncio.Task[None], asyncio.Event]] = []
        self.order: list[str] = []
        self.refused: list[tuple[str, Full]] = []

    def come(self, who: str, *, sure: bool = False) -> asyncio.Task[None]:
        enough = asyncio.Event()
        task = asyncio.ensure_future(self._stay(who, enough, sure))
        self.tasks.append((task, enough))
        return task

    async def _stay(self, who: str, enough: asyncio.Event, sure: bool) -> None:
        try:
            begun = await self.turns.acquire(who, sure=sure)
        except Full as e:
            self.refused.append((who, e))
            return
        self.inside[who] += 1
        self.order.append(who)
        try:
            await enough.wait()
        finally:
            self.inside[who] -= 1
            self.turns.release(who, begun)


async def ticks(n: int = 4) -> None:
    for _ in range(n):
        await asyncio.sleep(0)


@given(STEPS, st.integers(1, 4), st.integers(0, 8), st.integers(0, 4), st.integers(1, 4))
def test_never_too_many_and_nothing_left(steps: list[tuple[str, Any]], places: int, queue: int, each: int, most: int) -> None:
    async def run() -> None:
        turns = Turns(places, queue=queue, each=each, patience=1e9, most=most)
        room, sure = Room(turns), 0
        for step, what in steps:
            if step == "come":
                room.come(what)
            elif step == "sure":
                room.come(what, sure=True)
                sure += 1
            elif step == "tick":
                await ticks()
            elif room.tasks:
                task, enough = room.tasks[what % len(room.tasks)]
                if step == "go":
                    task.cancel()
                else:
                    enough.set()
            assert room.inside.total() <= turns.inside <= places
            assert turns.waiting <= queue + sure
            assert max(room.inside.values(), default=0) <= most
        await ticks()
        assert turns.inside == places or all(level >= most for level in turns._levels), "a free place while somebody waits"
        for task, enough in room.tasks:
            task.cancel() if len(room.tasks) % 2 else enough.set()
        end = 0
        while any(not t.done() for t, _ in room.tasks):
            await ticks()
            end += 1
            assert end < 500, "somebody waits for ever"
        assert (turns.inside, turns.waiting, turns._lines, turns._levels, turns._queues) == (0, 0, {}, {}, 0)

    asyncio.run(run())


@given(st.lists(st.tuples(LINES, st.integers(1, 12)), min_size=1, max_size=4, unique_by=lambda e: e[0]), st.integers(1, 6))
def test_a_newcomer_waits_for_one_place_per_line_at_most(others: list[tuple[str, int]], places: int) -> None:
    """However long the other lines are: and those who come after him do not come before him."""

    async def run() -> None:
        room = Room(Turns(places, queue=1000, each=1000, patience=1e9))
        for who, many in others:
            for _ in range(many + places):
                room.come(who)
        await ticks()
        full = len(room.order)
        assert full == places
        room.come("new")
        await ticks()
        for n in range(20):
            room.come(f"later-{n}")
        await ticks()
        while "new" not in room.order:
            _, enough = next(t for t in room.tasks if not t[0].done() and not t[1].is_set())
            enough.set()
            await ticks()
        assert room.order.index("new") - full <= len(others)
        for _, enough in room.tasks:
            enough.set()
        await asyncio.gather(*(t for t, _ in room.tasks))

    asyncio.run(run())


async def test_who_is_slow_does_not_fill_the_places() -> None:
    """A line whose requests never end keeps what it has, and gets no more while another wants any."""
    room = Room(Turns(4, queue=100, each=100, patience=1e9))
    slow = [room.come("slow") for _ in range(3)]
    await ticks()
    for n in range(30):
        room.come("slow" if n % 2 else "quick")
    await ticks()
    for _ in range(10):
        task, enough = next(t for t in room.tasks if not t[0].done() and t[0] not in slow and not t[1].is_set())
        enough.set()
        await ticks()
        assert room.inside == {"slow": 3, "quick": 1}
    for task, _ in room.tasks:
        task.cancel()
    await asyncio.gather(*(t for t, _ in room.tasks), return_exceptions=True)


async def test_no_line_has_all_places() -> None:
    """Requests that wait for others of their own are in nobody else's way."""
    room = Room(Turns(4, queue=100, each=100, patience=1e9, most=3))
    for _ in range(10):
        room.come("greedy")
    await ticks()
    assert (room.inside, room.turns.waiting) == ({"greedy": 3}, 7)
    assert room.turns.free("modest") and not room.turns.free("greedy")
    room.come("modest")
    await ticks()
    assert room.inside == {"greedy": 3, "modest": 1}
    room.tasks[0][1].set()
    await ticks()
    assert room.inside == {"greedy": 3, "modest": 1} and room.turns.waiting == 6
    for _, enough in room.tasks:
        enough.set()
    await asyncio.gather(*(t for t, _ in room.tasks))


async def test_a_longer_line_gives_way() -> None:
    room = Room(Turns(1, queue=3, each=3, patience=1e9))
    for _ in range(4):
        room.come("greedy")
    await ticks()
    assert (room.turns.inside, room.turns.waiting) == (1, 3)
    room.come("greedy")
    await ticks()
    assert [(who, e.reason) for who, e in room.refused] == [("greedy", Reason.LINE)]
    room.come("modest")
    await ticks()
    assert [(who, e.reason) for who, e in room.refused[1:]] == [("greedy", Reason.LINE)] and room.turns.waiting == 3
    room.come("modest")
    await ticks()
    assert [(who, e.reason) for who, e in room.refused[2:]] == [("modest", Reason.ALL)]
    room.tasks[0][1].set()
    await ticks()
    assert room.order == ["greedy", "modest"], "who has nothing inside is next"
    for _, enough in room.tasks:
        enough.set()
    await ticks(10)
    assert room.order == ["greedy", "modest", "greedy", "greedy"] or room.order == ["greedy", "modest", "greedy"]


async def test_who_would_wait_too_long_is_told_at_once() -> None:
    """By how long those inside stay, whether they have left or hang since then; not the line that is short."""
    clock = Clock()
    turns = Turns(2, queue=100, each=100, patience=10, clock=clock)
    room = Room(turns)
    for _ in range(10):
        room.come("greedy")
    await ticks()
    assert not room.refused and turns.waiting == 8
    clock.now = 5.0  # nobody has left yet
    room.come("greedy")
    await ticks()
    assert [(who, e.reason) for who, e in room.refused] == [("greedy", Reason.SLOW)]
    assert room.refused[0][1].after == pytest.approx(9 * 5 / 2)
    room.come("modest")
    room.come("greedy", sure=True)
    await ticks()
    assert len(room.refused) == 1 and turns.waiting == 10
    for task, _ in room.tasks:
        task.cancel()
    await asyncio.gather(*(t for t, _ in room.tasks), return_exceptions=True)
    assert turns.inside == turns.waiting == 0 and turns.expected() == 0
