"""Copies follow the hub, level-triggered: a key says which hub object to look at, never what happened to it.

A change made through us is a dirty mark (an intent) until every copy has followed: written before the change, closed
when the look that began after it has ended. So a crash between any two calls loses no change.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass

import structlog

from cascade.model.errors import CascadeError, SiteUnreachable
from cascade.reconcile.net.replica import FLOATING, MEMBERS, NETWORK, PORT, ROUTER, TRUNK, Kind, Replicas
from cascade.reconcile.net.sharing import SHARING
from cascade.reconcile.workqueue import WorkQueue
from cascade.sites.registry import Sites
from cascade.store import Store

log = structlog.get_logger(__name__)

DIRTY = "network.sync"
"""Verb of the intent that stands for copies not known to have followed; ``body`` holds the kind."""
Key = tuple[str, str]
"""(kind, hub id)"""
GATHERED = {MEMBERS.name: 0.3}
"""Kinds of which many changes are one look: seconds it waits for more."""
Syncs = dict[str, Callable[[str], Awaitable[None]]]


@dataclass
class Change:
    """A write at the hub under way."""

    refused: bool = False
    """The hub said no: nothing has changed."""


class Following:
    """The queue of keys and the marks that outlive it. ``syncs``: per kind, what makes the copies of a hub id right."""

    def __init__(self, store: Store, sites: Sites, replicas: Replicas) -> None:
        self._store, self._sites, self._r = store, sites, replicas
        self.queue: WorkQueue[Key] = WorkQueue(self._work, name="network", base=0.25)
        self._failing: set[Key] = set()
        self._syncs: Syncs = {}

    async def run(self) -> None:
        """Take up what a former process left dirty, then work until cancelled."""
        self._sites.health.on_up.append(self._returned)
        for intent in await self._store.intents.pending(verb=DIRTY):
            if intent.resource_id:
                self.queue.add((intent.body["kind"], intent.resource_id))
        await self.queue.run()

    @contextlib.asynccontextmanager
    async def change(self, *keys: Key) -> AsyncIterator[Change]:
        """Around a write: the keys and what else it moves are marked before and followed after.

        Only a refusal (``Change.refused``) is known to have changed nothing: whatever else happens, the copies are looked at.
        """
        moved = dict.fromkeys([k for key in keys for k in (key, *await self._touched(*key))])
        marks = [mark for key in moved for mark in await self.dirty(*key)]
        write = Change()
        try:
            yield write
        finally:
            if write.refused:
                await self.unmark(marks)
            else:
                for key in moved:
                    await self.sync(*key)

    async def dirty(self, kind: str, hub_id: str) -> list[str]:
        """Before a change at the hub: a mark for every key that has copies, so that a crash loses no change. See ``unmark``."""
        if not await self._concerned(kind, hub_id):
            return []
        intent = await self._store.intents.open(
            DIRTY, site="", project_id="", user_id="", resource_id=hub_id, request_id="", body={"kind": kind}
        )
        return [intent.id]

    async def unmark(self, marks: Iterable[str]) -> None:
        """The change did not happen after all."""
        for ident in marks:
            await self._store.intents.close(ident)

    async def sync(self, kind: str, hub_id: str) -> None:
        """After a change (a delete too): copies follow in the background, tried again until they have."""
        pause = GATHERED.get(kind, 0.0)
        if not pause:
            self.queue.forget((kind, hub_id))  # a new reason to look: pauses begin anew
        self.queue.add((kind, hub_id), pause)

    async def followed(self, kind: str, hub_id: str, seconds: float) -> bool:
        """Wait for the copies after ``sync``, for callers whose client looks for the change at the site at once."""
        return await self.queue.settled((kind, hub_id), seconds)

    def _look_again(self, kind: Kind, hub_id: str) -> None:
        if kind is not PORT:  # of ports there are many: their revision is compared instead
            self.queue.add((kind.name, hub_id))

    async def _touched(self, kind: str, hub_id: str) -> list[Key]:
        """What a change of this one moves beside it, as things are before the change."""
        return []

    async def _concerned(self, kind: str, hub_id: str) -> bool:
        # Of these a first copy may be due to the very change.
        where = NETWORK.name if kind == SHARING else kind
        return kind in (ROUTER.name, FLOATING.name, TRUNK.name) or bool(await self._store.pairs.of_hub(where, hub_id))

    def _returned(self, site: str) -> None:
        """A site is back: what failed does not wait for its pause to end."""
        for key in list(self._failing):
            self.queue.add(key)

    async def _work(self, key: Key) -> None:
        kind, hub_id = key
        marked = await self._store.intents.by_resource(hub_id)  # read before looking
        marks = [i.id for i in marked if i.verb == DIRTY and i.body["kind"] == kind]
        try:
            await self._syncs[kind](hub_id)
        except CascadeError:
            self._failing.add(key)
            raise
        self._failing.discard(key)
        await self.unmark(marks)

    async def _each(self, sites: Iterable[str], act: Callable[[str], Awaitable[None]]) -> None:
        """``act`` in every site beside the others; the first error is raised when all are done."""

        async def one(site: str) -> None:
            if not self._sites.usable(site):
                raise SiteUnreachable(site, "down")
            await act(site)

        done = await asyncio.gather(*(one(s) for s in sites), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def _follow(
        self,
        kind: Kind,
        hub_id: str,
        sync: Callable[[str, str], Awaitable[bool]] | None,
        drop: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        """The common shape: every copy follows by ``sync`` (False: it is not there any more) or, without it, by ``drop``."""
        copies = await self._r.sites_of(kind, hub_id)

        async def act(site: str) -> None:
            if sync is None:
                await drop(site, hub_id, copies[site])
            elif not await sync(site, copies[site]):
                log.warning("copy is gone", site=site, kind=kind.name, id=hub_id)
                await self._store.pairs.drop(kind.name, hub_id, site)

        await self._each(copies, act)
