"""Cinder's things that came into being beside what was asked for (a boot volume, the volumes of a group's copy) or changed
hands: index and ledger follow what the site shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from cascade.api.core import Core
from cascade.api.request import Request
from cascade.model.errors import SiteError
from cascade.quota.amounts import block_amounts
from cascade.reconcile.building import north_of
from cascade.store.index import IndexEntry

log = structlog.get_logger(__name__)

VERSION = "3.60"
COUNTED = {"volume": "/volumes", "snapshot": "/snapshots", "backup": "/backups", "group": "/groups"}
"""Kinds the ledger counts, and where they are shown."""


async def adopt(core: Core, entries: Sequence[IndexEntry]) -> None:
    """Put things found at a site into index and ledger. What cannot be looked at now stays unknown, to be found again."""
    for entry in entries:
        if entry.kind == "server" and await promised(core, entry.site, entry.id) is not None:
            continue  # a build request on its way in: it is in the index, under another id
        path = COUNTED.get(entry.kind)
        if path is not None:
            try:
                reply = await core.south.call(entry.site, "volume", "GET", f"{path}/{entry.id}", version=VERSION)
            except SiteError as e:
                log.info("not adopted yet", kind=entry.kind, id=entry.id, site=entry.site, error=str(e))
                continue
            if not reply.ok:
                continue
            shown = next(iter(reply.json().values()))
            await core.store.ledger.put(entry.id, entry.project_id, entry.user_id, block_amounts(entry.kind, shown))
        await core.store.index.add_many([entry])


async def promised(core: Core, site: str, site_id: str) -> str | None:
    """The north id under which a site's server was promised before it was there; None for all others, and where nobody says."""
    try:
        reply = await core.south.call(site, "compute", "GET", f"/servers/{site_id}/tags", version="2.52", timeout=10)
    except SiteError as e:
        log.info("tags not seen", id=site_id, site=site, error=str(e))
        return None
    return north_of(reply.json()["tags"]) if reply.ok else None


async def children(core: Core, site: str, kind: str, **filters: str) -> list[dict[str, Any]]:
    """The volumes or snapshots of a group or group snapshot or volume, as the site shows them now."""
    params = [("all_tenants", "1"), *filters.items()]
    reply = await core.south.call(site, "volume", "GET", f"/{kind}s/detail", params=params, version=VERSION)
    rows: list[dict[str, Any]] = reply.expect(200).json()[f"{kind}s"]
    return rows


async def adopt_children(core: Core, parent: IndexEntry) -> None:
    """What a group or group snapshot brought with it, for the same project."""
    kind, field = ("volume", "group_id") if parent.kind == "group" else ("snapshot", "group_snapshot_id")
    rows = await children(core, parent.site, kind, **{field: parent.id})
    unknown = await core.store.index.unknown(kind, {r["id"] for r in rows})
    await adopt(core, [
        IndexEntry(kind=kind, id=r["id"], site=parent.site, project_id=parent.project_id, user_id=parent.user_id, created=None)
        for r in rows if r["id"] in unknown
    ])  # fmt: skip


async def leaving(core: Core, req: Request, entry: IndexEntry, also: Sequence[tuple[str, str]] = ()) -> None:
    """Delete intents for a thing, and for those ``(kind, id)`` that go with it: the watch takes them out when they are gone."""
    await core.watch.begin_delete(f"{entry.kind}.delete", entry, req.request_id)
    for kind, ident in also:
        one = await core.store.index.get(kind, ident)
        if one is not None:
            await core.watch.begin_delete(f"{kind}.delete", one, req.request_id)
    core.watch.wake(entry.site)
