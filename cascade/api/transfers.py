"""Accepting a volume transfer: the one request by which a thing changes its project.

Cinder lets whoever has the key accept; so the transfer is looked up whosever it is, and the site judges the key.
"""

from __future__ import annotations

from cascade.api.adopt import children
from cascade.api.core import Core
from cascade.api.forward import from_site, site_reply, to_hub
from cascade.api.request import Request, Response
from cascade.api.volumes import over_quota
from cascade.model.errors import Fault, OverQuota

VERSION = "3.60"


async def transfer_accept(core: Core, req: Request) -> Response:
    """POST /volume-transfers/{id}/accept: quota of the one who accepts first, then the site, then the index."""
    entry = await core.store.index.get("transfer", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    if not core.sites.usable(entry.site):
        raise Fault(503, f"Availability zone {entry.site} is not available at the moment.", headers={"Retry-After": "10"})
    project, user = req.caller.project_id or "", req.caller.user_id
    shown = await core.south.call(entry.site, "volume", "GET", f"/volume-transfers/{entry.id}", version=VERSION)
    volume = str(shown.json()["transfer"]["volume_id"]) if shown.ok else ""
    await core.allowances.ensure(entry.site, "volume", project)
    giver = await core.store.index.get("volume", volume)
    things = [("volume", volume)] if giver is not None else []
    if giver is not None and not shown.json()["transfer"].get("no_snapshots"):
        things += [("snapshot", s["id"]) for s in await children(core, entry.site, "snapshot", volume_id=volume)]
    held = [ident for _, ident in things]
    try:
        await core.store.ledger.move(held, project, user, await core.limits.of("volume", project))
    except OverQuota as e:
        raise over_quota(e) from e
    reply = await site_reply(core, req, entry.site)  # lost: whose the volume is shows when somebody asks for it
    if reply.ok:
        for kind, ident in things:
            await core.store.index.move(kind, ident, project_id=project, user_id=user)
        await core.store.index.tombstone("transfer", entry.id)
    elif giver is not None:
        await core.store.ledger.move(held, giver.project_id, giver.user_id, {})
    return await from_site(core, req, entry.site, reply)
