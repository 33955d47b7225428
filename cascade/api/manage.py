"""Cinder's administration by host: taking volumes, snapshots and backups of a backend in, and what a backend can do."""

from __future__ import annotations

import base64
import binascii
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from cascade.api.adopt import adopt
from cascade.api.core import Core
from cascade.api.forward import from_site, site_reply, to_hub
from cascade.api.request import Request, Response
from cascade.api.zonal import locate
from cascade.api.zones import zone_sites
from cascade.model.errors import Fault
from cascade.model.ids import split_host
from cascade.store.index import IndexEntry


async def manage(core: Core, req: Request) -> Response:
    """/manageable_volumes, /manageable_snapshots and their old names: at the site of the host, cluster or volume named."""
    doc = req.json()
    kind = next(iter(doc), "") if isinstance(doc, dict) else ""
    what = doc.get(kind) if isinstance(doc, dict) else None
    site = await _where(core, req, what if isinstance(what, dict) else {})
    if site is None:
        return await to_hub(core, req)
    if not core.sites.usable(site):
        raise Fault(503, f"Availability zone {site} is not available at the moment.", headers={"Retry-After": "10"})
    reply = await site_reply(core, req, site)
    if req.method == "POST" and reply.status == 202:
        entry = IndexEntry(
            kind=kind, id=reply.json()[kind]["id"], site=site, project_id=req.caller.project_id or "", user_id=req.caller.user_id,
            created=None,
        )  # fmt: skip
        await adopt(core, [entry])
    return await from_site(core, req, site, reply)


async def _where(core: Core, req: Request, what: dict[str, Any]) -> str | None:
    if isinstance(volume := what.get("volume_id"), str):
        entry = await locate(core, req, "volume", volume)
        return entry.site if entry is not None else None
    named = what.get("host") or what.get("cluster") or req.param("host") or req.param("cluster")
    where = split_host(named) if isinstance(named, str) else None
    return where[0] if where is not None and where[0] in core.sites.names() else None


async def backup_import(core: Core, req: Request) -> Response:
    """POST /backups/import_record: at the site the record comes from.

    That is told by the backup or the volume it names, if they were ever seen, else by the zone in it.
    """
    record = _record(req.json())
    site = None
    for kind, key in (("backup", "id"), ("volume", "volume_id")):
        entry = await core.store.index.get(kind, str(record.get(key)), deleted=True) if record and site is None else None
        site = entry.site if entry is not None else site
    site = site or zone_sites(core).get(str(record.get("availability_zone")), None)
    if site is None or not req.caller.is_admin:
        return await to_hub(core, req)
    if not core.sites.usable(site):
        raise Fault(503, f"Availability zone {site} is not available at the moment.", headers={"Retry-After": "10"})
    reply = await site_reply(core, req, site)
    if reply.status == 201:
        entry = IndexEntry(
            kind="backup", id=reply.json()["backup"]["id"], site=site, project_id=req.caller.project_id or "",
            user_id=req.caller.user_id, created=None,
        )  # fmt: skip
        await adopt(core, [entry])
    return await from_site(core, req, site, reply)


def _record(doc: Any) -> dict[str, Any]:
    """What Cinder exported: JSON in base64. Empty where it is no such thing."""
    outer = doc.get("backup-record") if isinstance(doc, dict) else None
    text = outer.get("backup_url") if isinstance(outer, dict) else None
    try:
        found = msgspec.json.decode(base64.b64decode(text)) if isinstance(text, str) else None
    except (binascii.Error, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


async def capabilities(core: Core, req: Request) -> Response:
    """GET /capabilities/{host}."""
    where = split_host(unquote(req.match["host"]))
    if where is None or where[0] not in core.sites.names():
        return await to_hub(core, req)
    site, host = where
    reply = await site_reply(core, req, site, path=f"/capabilities/{quote(host, safe='@')}")
    return await from_site(core, req, site, reply)
