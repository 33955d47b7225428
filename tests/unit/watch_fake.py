"""One database, one site, any number of gateway processes that watch intents."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec

from cascade.model.errors import CascadeError
from cascade.model.reply import Reply
from cascade.reconcile.copies import NotYet
from cascade.reconcile.presence import Presence
from cascade.reconcile.watch import Watch
from cascade.sites.buildrequest import Seals
from cascade.store import Store
from cascade.store.intents import Intent


class Site:
    """South with one site in it: answers by path, and what was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any] | Exception] = {}
        """By path, or by "METHOD path"; an exception is raised."""
        self.seals = Seals(b"k" * 32)
        self.asked: list[tuple[str, str, Any]] = []

    async def call(self, target: str, service: str, method: str, path: str, *, params: Any = None, **_: Any) -> Reply:
        self.asked.append((method, path, params))
        nothing = (404, {"itemNotFound": {"code": 404, "message": ""}})
        answer = self.answers.get(f"{method} {path}", self.answers.get(path, nothing))
        if isinstance(answer, Exception):
            raise answer
        status, doc = answer
        return Reply(target, status, {"content-type": "application/json"}, msgspec.json.encode(doc))


class Ports:
    """Only remembers."""

    def __init__(self) -> None:
        self.released: list[str] = []
        self.owned: list[str] = []

    async def release(self, device: str, site: str, *, keep: set[str] | None) -> None:
        self.released.append(device)

    async def own(self, intent: str, server: str, site: str, *, mine: set[str]) -> None:
        self.owned.append(server)


class Images:
    """Image copies that are what a test says they are."""

    def __init__(self) -> None:
        self.copies = SimpleNamespace(ended=[])
        self.there: dict[str, str | CascadeError] = {}
        """Hub id -> the site's, or what asking for it raises; others are still on their way."""

    async def arrived(self, site: str, image_id: str, project_id: str) -> str:
        found = self.there.get(image_id, NotYet(image_id, site))
        if isinstance(found, CascadeError):
            raise found
        return found


class World:
    """One database, any number of gateway processes."""

    def __init__(self, url: str) -> None:
        self.url, self.site, self.ports, self.images = url, Site(), Ports(), Images()
        self.stores: list[Store] = []
        self.now = time.time()

    async def process(self) -> Watch:
        """A gateway that has started."""
        store = await Store.open(self.url)
        self.stores.append(store)
        found: Any = (store, self.site, SimpleNamespace(usable=lambda site: True), self.ports, self.images)
        made = Watch(*found, clock=lambda: self.now)
        made.presence = Presence(store, ttl=0.4, beat=0.1)
        await made.presence.start(lambda site: None)
        return made

    async def create(self, watch: Watch, kind: str = "server", state: str = "posting", made: str | None = None) -> Intent:
        """A create that ``watch``'s process began."""
        store = watch._store
        intent = await store.begin_create(
            verb=f"{kind}.create",
            site="paris",
            project_id="p",
            user_id="u",
            request_id="r",
            body={},
            amounts={"instances": 1},
            limits={},
        )
        await store.intents.update(intent.id, state=state, resource_id=made)
        return await store.intents.get(intent.id)

    async def later(self, seconds: float) -> None:
        """Time passes for everything open."""
        self.now += seconds

    async def round(self, watch: Watch) -> int:
        """One look at what is this process'."""
        pending = await watch.presence.mine(await watch._store.intents.unsettled("paris"))
        return await watch._round("paris", pending) if pending else 0


@asynccontextmanager
async def a_world(tmp_path: Path) -> AsyncIterator[World]:
    """Closed at the end."""
    found = World(f"sqlite+aiosqlite:///{tmp_path}/w.db")
    yield found
    for store in found.stores:
        await store.close()


async def heir_of(world: World, late: Watch) -> Watch:
    """Another process, after ``late`` said nothing for so long that it counts as gone."""
    assert late.presence._task is not None
    late.presence._task.cancel()
    found = await world.process()
    await asyncio.sleep(0.5)
    return found
