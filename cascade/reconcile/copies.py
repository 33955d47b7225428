"""The image copies under way in this process: each is shared by all who need it, and goes on when they stop waiting."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import structlog

from cascade.model.errors import CascadeError, Fault, NativeFault, SiteUnreachable, Terminal

log = structlog.get_logger(__name__)

TRIES = 3
"""Copies in a row that may fail for one build request; what a site or the hub that is away cuts short is no try."""
PAUSE = 5.0
"""Seconds after the first failed try; each later pause is three times as long."""
Key = tuple[str, str]
"""(site, hub image)"""


class NotYet(Fault):
    """The bits are still on their way; they travel on, so asking again is worth it."""

    def __init__(self, image_id: str, site: str) -> None:
        super().__init__(
            503,
            f"Image {image_id} is being copied to availability zone {site}. Try again in a moment.",
            headers={"Retry-After": "15"},
        )


class NotActive(Fault):
    """Nova's ImageNotActive, word for word."""

    def __init__(self, image_id: str) -> None:
        super().__init__(400, f"Image {image_id} is not active.", kind="badRequest")


class CopyFailed(Fault):
    """Given up; why is in the log."""

    def __init__(self, image_id: str, site: str) -> None:
        super().__init__(500, f"Image {image_id} could not be copied to availability zone {site}.")


@dataclass(slots=True)
class _Failure:
    tries: int
    again: float
    error: BaseException


class Copies:
    """``copy`` makes one (site, hub image) and returns the site's id; ``ended`` is called with the site after each."""

    def __init__(
        self, copy: Callable[[str, str], Coroutine[Any, Any, str]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._copy, self._clock = copy, clock
        self._tasks: dict[Key, asyncio.Task[str]] = {}
        self._failures: dict[Key, _Failure] = {}
        self.ended: list[Callable[[str], None]] = []

    async def wait(self, site: str, hub_id: str, patience: float) -> str:
        """The copy that is under way or begins now, for at most ``patience`` seconds. Raises NotYet, and what it failed of."""
        if (site, hub_id) not in self._tasks:
            self._failures.pop((site, hub_id), None)
        return await self._result(site, hub_id, patience)

    async def look(self, site: str, hub_id: str) -> str:
        """The same for who comes again and again: a failed copy is tried anew after a pause, ``TRIES`` times in all.

        Raises NotYet, NotActive, or CopyFailed after the last of them.
        """
        failure = self._failures.get((site, hub_id))
        if failure is not None and failure.tries >= TRIES:
            raise failure.error if isinstance(failure.error, NotActive) else CopyFailed(hub_id, site) from failure.error
        if failure is not None and self._clock() < failure.again:
            raise NotYet(hub_id, site)
        return await self._result(site, hub_id, 0)

    async def _result(self, site: str, hub_id: str, patience: float) -> str:
        key = (site, hub_id)
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(self._copy(site, hub_id), name=f"image {hub_id} to {site}")
            task.add_done_callback(lambda done: self._done(key, done))
        done, _ = await asyncio.wait({task}, timeout=patience)
        if not done:
            raise NotYet(hub_id, site)
        return task.result()

    def _done(self, key: Key, task: asyncio.Task[str]) -> None:
        del self._tasks[key]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._failures.pop(key, None)
        else:
            known = isinstance(error, CascadeError)
            log.warning("image copy failed", site=key[0], image=key[1], error=str(error), exc_info=None if known else error)
            self._failures[key] = self._after(self._failures.get(key), error)
        for told in self.ended:
            told(key[0])

    def _after(self, before: _Failure | None, error: BaseException) -> _Failure:
        tries = before.tries if before is not None else 0
        if isinstance(error, Fault | NativeFault | Terminal):
            tries = TRIES  # somebody's word, not an accident
        elif not isinstance(error, SiteUnreachable):
            tries += 1
        return _Failure(tries, self._clock() + PAUSE * 3 ** max(tries - 1, 0), error)
