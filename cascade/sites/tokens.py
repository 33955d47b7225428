"""Tokens of our own making: one login at a time per key, renewed early, dropped when refused."""

from __future__ import annotations

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from cascade.model.errors import CascadeError

log = structlog.get_logger(__name__)

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
MARGIN = 30.0
"""Seconds before its end in which a token is not handed out any more: the call has to arrive with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Token:
    """``value`` is secret: not in repr, never logged, never stored."""

    value: str = field(repr=False)
    issued_at: float
    expires_at: float
    """Unix seconds, by our own clock: the life the issuer gave counted from the moment it arrived."""
    project_id: str | None
    user_id: str


class Flights(Generic[K, V]):
    """Single-flight: whoever asks while the work runs shares its outcome; one who stops waiting does not stop it."""

    def __init__(self) -> None:
        self._running: dict[K, asyncio.Task[V]] = {}

    def start(self, key: K, work: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        """The running task of this key, begun now if there is none. ``work`` must have its own deadline."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(_run(work))
            self._running[key] = task
            task.add_done_callback(lambda done: self._done(key, done))
        return task

    async def do(self, key: K, work: Callable[[], Awaitable[V]]) -> V:
        """The outcome of this key's work."""
        return await asyncio.shield(self.start(key, work))

    def _done(self, key: K, task: asyncio.Task[V]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen: followers re-raise it, and with none left nobody has to

    async def close(self) -> None:
        """Cancel what runs."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _run(work: Callable[[], Awaitable[V]]) -> V:
    return await work()


@dataclass(slots=True)
class _Kept:
    token: Token
    renew_at: float


class TokenCache(Generic[K]):
    """Bounded (least recently used goes first), in memory only."""

    def __init__(self, *, size: int = 20_000, clock: Callable[[], float] = time.time) -> None:
        self._kept: OrderedDict[K, _Kept] = OrderedDict()
        self._size, self._clock = size, clock
        self._flights: Flights[K, Token] = Flights()

    async def get(self, key: K, make: Callable[[], Awaitable[Token]]) -> Token:
        """A usable token; ``make`` logs in and raises what it likes.

        After about 80 % of its life (jittered, so that a restart's tokens do not all end together) a token is
        renewed beside the requests that still use it; a renewal that fails is tried again half a minute later.
        """
        kept, now = self._kept.get(key), self._clock()
        if kept is None or now >= kept.token.expires_at - MARGIN:
            return await self._flights.do(key, lambda: self._make(key, make))
        self._kept.move_to_end(key)
        if now >= kept.renew_at:
            kept.renew_at = now + MARGIN
            self._flights.start(key, lambda: self._renew(key, kept.token, make))
        return kept.token

    def renew(self, key: K, make: Callable[[], Awaitable[Token]]) -> None:
        """Make a new token now, beside the requests that still use the old one; nothing where there is none."""
        if (kept := self._kept.get(key)) is not None:
            self._flights.start(key, lambda: self._renew(key, kept.token, make))

    def forget(self, key: K, token: Token | None = None) -> None:
        """Drop what is kept; only if it still is ``token``, where one is named: a fresh one is not refused yet."""
        kept = self._kept.get(key)
        if kept is not None and (token is None or kept.token.value == token.value):
            del self._kept[key]

    def forget_where(self, test: Callable[[K], bool]) -> None:
        """Drop every token whose key passes ``test``."""
        for key in [k for k in self._kept if test(k)]:
            del self._kept[key]

    async def close(self) -> None:
        """End logins under way and forget everything."""
        await self._flights.close()
        self._kept.clear()

    async def _make(self, key: K, make: Callable[[], Awaitable[Token]]) -> Token:
        token = await make()
        life = max(0.0, token.expires_at - token.issued_at)
        self._kept[key] = _Kept(token, token.issued_at + life * random.uniform(0.75, 0.85))
        self._kept.move_to_end(key)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)
        return token

    async def _renew(self, key: K, old: Token, make: Callable[[], Awaitable[Token]]) -> Token:
        try:
            return await self._make(key, make)
        except CascadeError as e:
            log.warning("token not renewed; the old one serves on", error=str(e))
            return old
