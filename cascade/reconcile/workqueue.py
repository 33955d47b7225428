"""A level-triggered work queue: keys say *what to look at*, never what happened.

A key waits at most once, runs at most once at a time, and when it is added while it runs it runs again afterwards:
so the last look always begins after the last change. What fails is tried again with growing, jittered pauses.
Nothing is stored: whoever adds keys can work out again, after a restart, which ones still matter.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

import structlog

from cascade import telemetry
from cascade.model.errors import CascadeError, Terminal

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)


class WorkQueue(Generic[K]):
    """``worker(key)`` returns None when the key is done, or the seconds after which to look again (no failure).

    A CascadeError is a failure: tried again after ``base * 2**n`` seconds, at most ``cap``, times 0.5 to 1.0 so that
    a site's return is not a stampede. Terminal is logged and given up until the key is added anew. Any other error is a
    bug: logged with its traceback and tried again like a failure, so that one bad key never stops the queue.
    """

    def __init__(
        self,
        worker: Callable[[K], Awaitable[float | None]],
        *,
        name: str = "work",
        limit: int = 8,
        base: float = 1.0,
        cap: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._worker, self._name, self._limit, self._base, self._cap = worker, name, limit, base, cap
        self._clock, self._jitter = clock, jitter
        self._heap: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        """When each waiting key runs; heap entries that disagree are stale and skipped."""
        self._running: dict[K, asyncio.Task[float | None]] = {}
        self._again: dict[K, float] = {}
        """Keys added while they run, and when to run them again."""
        self._failures: dict[K, int] = {}
        self._errors: dict[K, tuple[float, str]] = {}
        """Of keys that failed last time: since when (Unix seconds), and what was wrong last."""
        self._settling: dict[K, list[asyncio.Future[None]]] = {}
        """Who waits for the end of a key's next run."""
        self._order = itertools.count()
        self._wake = asyncio.Event()
        telemetry.QUEUED.labels(name).set_function(lambda: float(len(self)))

    def add(self, key: K, delay: float = 0.0) -> None:
        """Have ``key`` looked at, ``delay`` seconds from now at the latest."""
        when = self._clock() + delay
        if key in self._running:
            self._again[key] = min(when, self._again.get(key, when))
            return
        if key in self._due and self._due[key] <= when:
            return
        self._due[key] = when
        heapq.heappush(self._heap, (when, next(self._order), key))
        self._wake.set()

    def forget(self, key: K) -> None:
        """Not waiting any more; a run under way ends undisturbed."""
        self._due.pop(key, None)
        self._again.pop(key, None)
        self._recovered(key)

    def hurry(self, test: Callable[[K], bool]) -> None:
        """What waits and passes ``test`` is due now: the reason for its pause is gone (a site is back)."""
        for key in [k for k in self._due if test(k)]:
            self.add(key)

    def failures(self, key: K) -> int:
        """How often in a row the key has failed."""
        return self._failures.get(key, 0)

    def failing(self) -> list[tuple[K, float, str]]:
        """(key, since in Unix seconds, last error) of what failed and will be tried again, longest first."""
        return sorted(((key, since, error) for key, (since, error) in self._errors.items()), key=lambda f: f[1])

    def _recovered(self, key: K) -> None:
        self._failures.pop(key, None)
        self._errors.pop(key, None)

    async def settled(self, key: K, seconds: float) -> bool:
        """Wait for the look under way or due at ``key``; False if it did not end well within that time."""
        if key not in self._running and key not in self._due:
            return key not in self._failures
        end: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._settling.setdefault(key, []).append(end)
        await asyncio.wait([end], timeout=seconds)
        return end.done() and key not in self._failures

    def __len__(self) -> int:
        """Keys waiting or running."""
        return len(self._due) + len(self._running)

    async def run(self) -> None:
        """Work until cancelled; runs under way are then cancelled too."""
        try:
            while True:
                self._wake.clear()
                pause = self.tick()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), pause)
        finally:
            await self._stop()

    def tick(self) -> float | None:
        """Start what is due, up to the limit; returns the seconds until the next key is, None if none is waiting."""
        while self._heap:
            when, _, key = self._heap[0]
            if self._due.get(key) != when:
                heapq.heappop(self._heap)
                continue
            wait = when - self._clock()
            if wait > 0:
                return wait
            if len(self._running) >= self._limit:
                return None  # a run that ends wakes us
            heapq.heappop(self._heap)
            del self._due[key]
            task = asyncio.ensure_future(self._call(key))
            self._running[key] = task
            task.add_done_callback(lambda t, k=key: self._ended(k, t))  # type: ignore[misc]
        return None

    async def drain(self) -> None:
        """Work off (also without ``run``) everything due now; keys put off to later stay where they are."""
        while True:
            pause = self.tick()
            if self._running:
                await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(0)  # the done callbacks
            elif pause is None or pause > 0:
                return

    async def _call(self, key: K) -> float | None:
        return await self._worker(key)

    def _ended(self, key: K, task: asyncio.Task[float | None]) -> None:
        del self._running[key]
        again = self._again.pop(key, None)
        if task.cancelled():
            self._wake.set()
            return
        error = task.exception()
        if error is None:
            self._recovered(key)
            pause = task.result()
            if pause is not None:
                self.add(key, pause)
        elif isinstance(error, Terminal):
            self._recovered(key)
            log.error("given up", queue=self._name, key=str(key), error=str(error))
        else:
            self._failed(key, error)
        if again is not None:
            self.add(key, max(0.0, again - self._clock()))
        else:
            for end in self._settling.pop(key, ()):
                if not end.done():
                    end.set_result(None)
        self._wake.set()

    def _failed(self, key: K, error: BaseException) -> None:
        count = self._failures[key] = self._failures.get(key, 0) + 1
        self._errors[key] = (
            self._errors.get(key, (time.time(), ""))[0],
            str(error) if isinstance(error, CascadeError) else "a bug; see the log",
        )
        pause = min(self._cap, self._base * 2.0 ** min(count - 1, 60)) * (0.5 + self._jitter() / 2)
        if isinstance(error, CascadeError):
            log.warning("will try again", queue=self._name, key=str(key), seconds=round(pause, 1), error=str(error))
        else:
            log.error("bug", queue=self._name, key=str(key), exc_info=error)
        self.add(key, pause)

    async def _stop(self) -> None:
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
