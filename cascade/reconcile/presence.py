"""Which gateway processes live. Each holds a lease in its own name; the intents of one that does not are anybody's.

So an intent has one process at work on it: the one that opened it, and when that is gone, the first to claim it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable

import structlog

from cascade.model.errors import CascadeError
from cascade.store import Store
from cascade.store.intents import Intent

log = structlog.get_logger(__name__)

TTL = 10.0
"""Seconds after which a process that says nothing counts as gone."""
BEAT = 3.0


class Presence:
    """This process' sign of life, and its eye on the others."""

    def __init__(self, store: Store, *, ttl: float = TTL, beat: float = BEAT) -> None:
        self._store, self._ttl, self._beat = store, ttl, beat
        self._epoch: int | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, orphaned: Callable[[str], None]) -> None:
        """Be seen from now on; ``orphaned`` is called with each site where somebody who is gone left something open."""
        await self._seen()
        self._task = asyncio.create_task(self._run(orphaned), name="presence")

    async def close(self) -> None:
        """Leave: what is open here is free for others at once."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._epoch is not None:
            with contextlib.suppress(CascadeError):
                await self._store.leases.release(_key(self._store.owner), self._epoch)

    async def mine(self, intents: Iterable[Intent]) -> list[Intent]:
        """Those this process must see to: its own, and what it could claim of processes that are gone."""
        alive: dict[str, bool] = {self._store.owner: True}
        found = []
        for intent in intents:
            if intent.owner not in alive:
                alive[intent.owner] = await self._store.leases.held(_key(intent.owner))
            if intent.owner == self._store.owner or (
                not alive[intent.owner] and await self._store.intents.claim(intent.id, self._store.owner, self._ttl)
            ):
                found.append(intent)
        return found

    async def _run(self, orphaned: Callable[[str], None]) -> None:
        while True:
            try:
                await self._seen()
                owners = await self._store.intents.owners()
                for owner in {o for o, _ in owners} - {self._store.owner}:
                    if not await self._store.leases.held(_key(owner)):
                        for site in {s for o, s in owners if o == owner}:
                            orphaned(site)
            except CascadeError as e:
                log.error("the store does not answer; others may take over what this process began", error=str(e))
            await asyncio.sleep(self._beat)

    async def _seen(self) -> None:
        key = _key(self._store.owner)
        if self._epoch is None or not await self._store.leases.renew(key, self._epoch, self._ttl):
            self._epoch = await self._store.leases.acquire(key, self._store.owner, self._ttl)


def _key(owner: str) -> str:
    return f"process/{owner}"
