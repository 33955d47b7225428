"""Many requests at once, from one process: what each took, and what was not answered as it should be."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import aiohttp

from bench.client import User
from bench.progress import Progress

PATIENCE, TIMEOUT = 30, 600.0
"""How often somebody who was told to come back later does; seconds to an answer before a request has failed."""


@dataclass
class Tally:
    """``seconds``: by kind of request. ``failed``: by what was said instead. ``deferred``: how often "later" was the answer."""

    seconds: dict[str, list[float]] = field(default_factory=dict)
    failed: Counter[str] = field(default_factory=Counter)
    deferred: int = 0

    def every(self) -> list[float]:
        """The seconds of all kinds together."""
        return [s for of_kind in self.seconds.values() for s in of_kind]


class Crowd:
    """A session with as many connections as it takes, and what came of its requests."""

    def __init__(self, root: str) -> None:
        self._root, self.tally = root, Tally()

    async def __aenter__(self) -> Crowd:
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=600)
        self._session = aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=TIMEOUT))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def ask(self, kind: str, user: User, method: str, path: str, doc: Any = None) -> Any:
        """The document answered, {} where there is none; None where it failed. 429 and 503 with Retry-After are tried again."""
        began, headers = time.monotonic(), user.headers(path)
        for _ in range(PATIENCE):
            try:
                async with self._session.request(method, self._root + path, json=doc, headers=headers) as answer:
                    if answer.status in (429, 503) and "Retry-After" in answer.headers:
                        self.tally.deferred += 1
                        await answer.read()
                        await asyncio.sleep(float(answer.headers["Retry-After"]))
                        continue
                    if answer.status >= 400:
                        self._fail(kind, f"{answer.status} {(await answer.text())[:160]}")
                        return None
                    body = await answer.read()
                    self.tally.seconds.setdefault(kind, []).append(time.monotonic() - began)
                    return await answer.json(content_type=None) if body else {}
            except (TimeoutError, aiohttp.ClientError) as e:
                self._fail(kind, repr(e)[:160])
                return None
        self._fail(kind, "told to come back later for ever")
        return None

    def _fail(self, kind: str, said: str) -> None:
        self.tally.failed[f"{kind}: {said}"] += 1


@dataclass(frozen=True, slots=True)
class Wish:
    """A thing's path, whose it is, and what its status is to be in the end: "" for gone."""

    path: str
    user: User
    status: str


async def settled(root: str, wishes: Iterable[Wish], seconds: float, pause: float = 0.2) -> list[Wish]:
    """Wait for all of them, so long at most; those that are not as wished then."""
    left, end = list(wishes), time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:
        while left and time.monotonic() < end:
            here, left = left, []
            for wish in here:
                async with session.get(root + wish.path, headers=wish.user.headers(wish.path)) as answer:
                    doc = await answer.json() if answer.status == 200 else {}
                thing: dict[str, Any] = next(iter(doc.values()), {})
                if answer.status != 404 if not wish.status else thing.get("status") != wish.status:
                    left.append(wish)
            await asyncio.sleep(pause if left else 0)
    return left


async def at_once(many: int, work: Iterable[Callable[[], Awaitable[object]]], progress: Progress | None = None) -> None:
    """All of it, so many at a time: who is done takes the next."""
    queue, done = iter(work), itertools.count(1)

    async def one() -> None:
        for job in queue:
            await job()
            if progress is not None:
                progress.at(next(done))

    await asyncio.gather(*(one() for _ in range(many)))
