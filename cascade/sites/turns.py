"""Places of which there are so many, and who is next when there is none: bounded, and fair between those who ask.

Both ends use it: requests that come in (``cascade.api.admission``; a *line* is a project) and calls that go to one target
(``cascade.sites.transport``). Who has least inside comes next, and of equals who was served longest ago: each line's share of the
places is as large as it can be without another's being smaller, whoever is slow, and a line that has nothing inside waits for
one place per other such line at most.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum

from cascade.model.errors import CascadeError

_WEIGHT = 0.02
"""Of the newest stay in the average: a moment's standstill of 32 that are inside at once is not how long a stay takes."""


class Reason(StrEnum):
    """Why somebody may not even wait."""

    LINE = "project"
    """As many as may wait in his line do."""
    ALL = "full"
    """As many as may wait at all do, and no line is longer than his."""
    SLOW = "slow"
    """He would wait for longer than makes sense, as it goes now."""


class Full(CascadeError):
    """No place, and none to wait at. ``after``: seconds after which it may be worth while to ask again."""

    def __init__(self, reason: Reason, after: float) -> None:
        super().__init__(f"no place: {reason.value}")
        self.reason, self.after = reason, after


class _Line:
    __slots__ = ("inside", "waiting", "who")

    def __init__(self, who: str) -> None:
        self.who, self.inside = who, 0
        self.waiting: OrderedDict[asyncio.Future[float], None] = OrderedDict()


class Turns:
    """``places``: at most so many inside, ``most`` of them of one line. ``queue``, ``each``: at most so many wait, in all and in
    one line. ``patience``: seconds that it makes sense to wait; who has to expect more is refused at once."""

    def __init__(
        self, places: int, *, queue: int, each: int, patience: float, most: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.places, self.queue, self.each, self.patience, self._clock = places, queue, each, patience, clock
        self.most = places if most is None else most
        self.inside = self.waiting = 0
        self._lines: dict[str, _Line] = {}
        self._levels: dict[int, OrderedDict[str, _Line]] = {}  # lines with somebody waiting, by how many they have inside
        self._queues = 0  # so many lines are in _levels
        self._begun = 0.0  # the sum of when those inside began
        self._pace = 0.0  # seconds inside, the average of those who left

    def free(self, who: str) -> bool:
        """Whether there is a place he may have: then nobody waits but lines that have as many as they may."""
        line = self._lines.get(who)
        return self.inside < self.places and (line is None or line.inside < self.most)

    async def acquire(self, who: str, *, sure: bool = False) -> float:
        """A place for ``who``, to be given back to ``release`` with what is returned. ``sure``: wait, however long.

        Raises Full, at once or, where a shorter line's newcomer needs the room, while it waits.
        """
        line = self._lines.get(who)
        if self.free(who):
            return self._let_in(line or self._new(who))
        if not sure:
            self._may_wait(0 if line is None else len(line.waiting))
        line = self._lines.get(who) or self._new(who)
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        if not line.waiting:
            self._rank(line)
        line.waiting[future] = None
        self.waiting += 1
        try:
            return await future
        except asyncio.CancelledError:
            if not self._left(line, future) and not future.cancelled() and future.exception() is None:
                self.release(who, future.result())  # it was his turn just when he went
            raise

    def release(self, who: str, begun: float) -> None:
        """Give a place back: whose turn it is has it."""
        line = self._lines[who]
        self.inside -= 1
        self._begun = self._begun - begun if self.inside else 0.0
        self._pace += (self._clock() - begun - self._pace) * _WEIGHT
        if line.waiting:
            self._unrank(line)
        line.inside -= 1
        if line.waiting:
            self._rank(line)
        elif not line.inside:
            del self._lines[who]
        self._next()

    def expected(self, own: int = 0) -> float:
        """Seconds a newcomer will wait about, in a line where ``own`` wait already: lines take turns, so a short one is quick."""
        if not self.inside:
            return 0.0
        ahead = min(self.waiting + 1, (own + 1) * (self._queues + (not own)))
        # Who is inside for long already says it before he leaves: a target that hangs is known to at once.
        pace = max(self._pace, self._clock() - self._begun / self.inside)
        return ahead * pace / self.places

    def _may_wait(self, own: int) -> None:
        if own >= self.each:
            raise Full(Reason.LINE, self.expected(own))
        if self.expected(own) > self.patience:
            raise Full(Reason.SLOW, self.expected(own))
        if self.waiting >= self.queue:
            longest = max((line for rank in self._levels.values() for line in rank.values()), key=lambda e: len(e.waiting))
            if len(longest.waiting) <= own + 1:
                raise Full(Reason.ALL, self.expected(own))
            last = next(reversed(longest.waiting))
            after = self.expected(len(longest.waiting))
            self._left(longest, last)
            if not last.done():
                last.set_exception(Full(Reason.LINE, after))

    def _new(self, who: str) -> _Line:
        line = self._lines[who] = _Line(who)
        return line

    def _let_in(self, line: _Line) -> float:
        now = self._clock()
        line.inside += 1
        self.inside += 1
        self._begun += now
        return now

    def _next(self) -> None:
        while self.waiting and self.inside < self.places and (least := min(self._levels)) < self.most:
            line = next(iter(self._levels[least].values()))
            self._unrank(line)
            future, _ = line.waiting.popitem(last=False)
            self.waiting -= 1
            if not future.done():  # else he went a moment ago, and knows it in another
                future.set_result(self._let_in(line))
            if line.waiting:
                self._rank(line)
            elif not line.inside:
                del self._lines[line.who]

    def _left(self, line: _Line, future: asyncio.Future[float]) -> bool:
        """Take him out of his line; whether he still stood in it."""
        if future not in line.waiting:
            return False
        del line.waiting[future]
        self.waiting -= 1
        if not line.waiting:
            self._unrank(line)
            if not line.inside:
                del self._lines[line.who]
        return True

    def _rank(self, line: _Line) -> None:
        """Last among those who have as many inside."""
        self._levels.setdefault(line.inside, OrderedDict())[line.who] = line
        self._queues += 1

    def _unrank(self, line: _Line) -> None:
        rank = self._levels[line.inside]
        del rank[line.who]
        self._queues -= 1
        if not rank:
            del self._levels[line.inside]
