"""Things that live in one site: found through the index, forwarded there untouched but for ids."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from cascade.api.adopt import adopt
from cascade.api.core import Core
from cascade.api.forward import from_site, site_reply, to_hub, to_site
from cascade.api.request import Request, Response
from cascade.model.errors import Fault, SiteError
from cascade.model.reply import Reply
from cascade.routing import partial
from cascade.routing.rows import owner_of
from cascade.store.index import IndexEntry

_PROBES = {
    "server": ("compute", "/servers"), "volume": ("volume", "/volumes"), "snapshot": ("volume", "/snapshots"),
    "backup": ("volume", "/backups"), "attachment": ("volume", "/attachments"), "transfer": ("volume", "/os-volume-transfer"),
    "group": ("volume", "/groups"), "group_snapshot": ("volume", "/group_snapshots"), "message": ("volume", "/messages"),
}  # fmt: skip
"""Where a kind is shown by id, for things the index has not seen (made by a site as a side effect)."""
_GIVEN = frozenset({"volume", "snapshot"})
"""Kinds that can change their project."""
_PROBE_VERSION = {"compute": "2.1", "volume": "3.60"}


async def locate(core: Core, req: Request, kind: str, ident: str) -> IndexEntry | None:
    """Where a zonal thing is, if the caller may know. None = let the hub's service say that it does not exist."""
    look = core.store.index.shown if req.method == "GET" else core.store.index.get
    entry = await look(kind, ident)
    if entry is not None:
        if entry.project_id == req.caller.project_id or req.caller.is_admin:
            return entry
        return await _given(core, req, entry) if kind in _GIVEN else None
    if len(ident) not in (32, 36) or kind not in _PROBES or await core.store.index.get(kind, ident, deleted=True):
        return None
    return await _probe(core, req, kind, ident)


async def _given(core: Core, req: Request, entry: IndexEntry) -> IndexEntry | None:
    """A thing indexed for another project may have become the caller's by a transfer whose end we did not see."""
    project = req.caller.project_id
    if project is None or entry.site not in await core.store.index.sites_of(None, project):
        return None
    found = await _probe(core, req, entry.kind, entry.id, sites=[entry.site])
    if found is None:
        return None
    await core.store.ledger.move([entry.id], project, req.caller.user_id, {})
    await core.store.index.move(entry.kind, entry.id, project_id=project, user_id=req.caller.user_id)
    return found


async def _probe(core: Core, req: Request, kind: str, ident: str, *, sites: Collection[str] | None = None) -> IndexEntry | None:
    """Ask the sites where the project is present, once, as the caller (design review 4.4).

    An administrator may ask for anybody's, so all sites are asked; but what belongs to no project of this cloud is the
    site owner's and does not exist here.
    """
    service, path = _PROBES[kind]
    admin = req.caller.is_admin
    places = sites
    if places is None:
        places = core.sites.names() if admin else await core.store.index.sites_of(None, req.caller.project_id)

    async def ask(site: str) -> IndexEntry | None:
        if not core.sites.usable(site):
            return None
        try:
            reply = await core.south.call(
                site, service, "GET", f"{path}/{ident}", as_=req.caller, version=_PROBE_VERSION[service],
                timeout=core.conf.list_deadline,
            )  # fmt: skip
            doc = reply.json() if reply.status == 200 else None
        except SiteError:
            return None
        shown = next(iter(doc.values()), None) if isinstance(doc, dict) else None
        if not isinstance(shown, dict) or await core.store.pairs.by_site_id(site, ident) is not None:
            return None  # what has another id north is known by that alone
        # Cinder shows an attachment to whoever knows its id; it belongs to whom its volume belongs.
        owner = await _project(core, site, shown) if admin or kind == "attachment" else req.caller.project_id
        if owner is None or not (admin or owner == req.caller.project_id):
            return None
        return IndexEntry(kind=kind, id=ident, site=site, project_id=owner, user_id=req.caller.user_id, created=None)

    found = [e for e in await asyncio.gather(*(ask(s) for s in places)) if e is not None]
    if not found:
        return None
    await adopt(core, found[:1])
    return found[0]


async def _project(core: Core, site: str, shown: dict[str, Any]) -> str | None:
    """The north project of a site's thing; None where there is none."""
    owner = owner_of(shown)
    if owner is None:  # attachments and the like do not say; their volume does
        volume = await core.store.index.get("volume", str(shown.get("volume_id")))
        return volume.project_id if volume is not None and volume.site == site else None
    if core.sites.get(site).identity == "shared":
        return owner
    pair = (await core.store.pairs.to_hub(site, [owner])).get(owner)
    return pair.hub_id if pair is not None and pair.kind == "project" else None


async def zonal(core: Core, req: Request) -> Response:
    """Forward to the thing's site."""
    assert req.row is not None
    entry = await locate(core, req, req.row.resource, req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    return await at_site(core, req, entry)


async def instance_actions(core: Core, req: Request) -> Response:
    """GET /servers/{id}/os-instance-actions: what was done to a server, also to one that is deleted (2.21)."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is not None:
        return await at_site(core, req, entry)
    gone = await core.store.index.get("server", req.match["id"], deleted=True)
    if gone is None or (gone.project_id != req.caller.project_id and not req.caller.is_admin):
        return await to_hub(core, req)
    return await to_site(core, req, gone.site)


async def at_site(core: Core, req: Request, entry: IndexEntry) -> Response:
    """Forward, and look closer where the site says that an indexed thing is not there."""
    if not core.sites.usable(entry.site):
        if (shown := _partial(core, req, entry)) is not None:
            return shown
        raise Fault(503, f"Availability zone {entry.site} is not available at the moment.", headers={"Retry-After": "10"})
    try:
        reply = await site_reply(core, req, entry.site)
    except SiteError:
        if (shown := _partial(core, req, entry)) is not None:
            return shown
        raise
    if not req.match.get("rest") and (reply.status == 404 or _deleted(entry, reply)):
        await core.watch.noticed(entry)
    return await from_site(core, req, entry.site, reply)


def _deleted(entry: IndexEntry, reply: Reply) -> bool:
    """A server that Nova shows as deleted for its last moment. Clients take that for the end: Heat deletes its ports then."""
    if entry.kind != "server" or not reply.ok or b'"DELETED"' not in reply.body:
        return False
    doc = reply.json()
    return isinstance(doc, dict) and isinstance(shown := doc.get("server"), dict) and shown.get("status") == "DELETED"


def _partial(core: Core, req: Request, entry: IndexEntry) -> Response | None:
    """Nova's own record of a server in a cell that does not answer (2.69)."""
    if req.method != "GET" or entry.kind != "server" or req.match.get("rest") or not partial.supported(req.version):
        return None
    public = core.conf.public_url.rstrip("/") + "/compute"
    return Response.of({"server": partial.show(entry, public=public, zone=entry.site, version=req.version)})
