"""Volumes that come and go with a server: Nova makes and deletes them at the site, and nobody else tells us."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import structlog

from cascade.api.adopt import adopt
from cascade.api.boot import Boot
from cascade.api.core import Core
from cascade.api.volumes import over_quota
from cascade.model.errors import Fault, OverQuota, SiteError
from cascade.reconcile.building import SENDING, WAITING
from cascade.store.index import IndexEntry

log = structlog.get_logger(__name__)

_PAUSES = (1.0, 1.0, 2.0, 3.0, 5.0, 8.0, 15.0, 30.0, 60.0, 120.0, 300.0)
"""Seconds between two looks while a server is built or deleted."""
_WAITING = 5.0
"""Seconds between two looks at a server whose image is still on its way."""
_SHOWS_FATE = "2.3"
"""From here on a server shows whether a volume goes with it."""


async def check(core: Core, project: str, boot: Boot) -> None:
    """Raises Fault 403 where Cinder's quota has no room for the volumes a boot makes; at the site nothing would stop them."""
    if not (wanted := boot.new_volumes):
        return
    limits, used = await core.limits.of("volume", project), await core.store.ledger.usage(project)
    for resource, amount in (("volumes", len(wanted) * boot.count[0]), ("gigabytes", sum(wanted) * boot.count[0])):
        limit, have = limits.get(resource, -1), used.get(resource, 0)
        if 0 <= limit < have + amount:
            raise Fault(403, over_quota(OverQuota(resource=resource, used=have, requested=amount, limit=limit)).message)


async def arriving(core: Core, server: str) -> None:
    """Once a server is built, its volumes are its project's as any others."""
    pauses = list(_PAUSES)
    while pauses:
        intent = await core.store.intents.find(UUID(server).hex)
        if intent is not None and intent.state in (WAITING, SENDING):  # Nova does not know of it yet
            await asyncio.sleep(_WAITING)
            continue
        await asyncio.sleep(pauses.pop(0))
        entry = await core.store.index.get("server", server)
        if entry is None:
            return
        shown = await _server(core, entry)
        if shown is None or shown["status"] == "BUILD":
            continue
        ids = [v["id"] for v in shown.get("os-extended-volumes:volumes_attached", ())]
        unknown = await core.store.index.unknown("volume", set(ids))
        await adopt(core, [
            IndexEntry(kind="volume", id=i, site=entry.site, project_id=entry.project_id, user_id=entry.user_id, created=None)
            for i in ids if i in unknown
        ])  # fmt: skip
        return


async def leaving_with(core: Core, entry: IndexEntry) -> list[str]:
    """The volumes that go when this server does, asked before it goes; none where the site does not say."""
    shown = await _server(core, entry)
    rows = shown.get("os-extended-volumes:volumes_attached", ()) if shown is not None else ()
    return [v["id"] for v in rows if v.get("delete_on_termination")]


async def gone_with(core: Core, server: IndexEntry, volumes: list[str]) -> None:
    """After an accepted delete: volumes that the site does not know any more are taken out of index and ledger."""
    entries = [e for v in volumes if (e := await core.store.index.get("volume", v)) is not None]
    for pause in _PAUSES:
        await asyncio.sleep(pause)
        if await core.store.index.get("server", server.id) is not None:
            continue
        for entry in entries:
            if await core.store.intents.by_resource(entry.id):
                continue  # a delete of its own is watched
            try:
                await core.watch.missing(entry)
            except SiteError as e:
                log.info("volume not looked at", id=entry.id, site=entry.site, error=str(e))
        entries = [e for e in entries if await core.store.index.get("volume", e.id) is not None]
        if not entries:
            return


async def _server(core: Core, entry: IndexEntry) -> dict[str, Any] | None:
    there = await core.store.pairs.at("server", entry.id, entry.site)
    try:
        reply = await core.south.call(entry.site, "compute", "GET", f"/servers/{there}", version=_SHOWS_FATE, timeout=10)
    except SiteError:
        return None
    shown: dict[str, Any] | None = reply.json()["server"] if reply.ok else None
    return shown
