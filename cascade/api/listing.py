"""Lists over sites north: who is asked, whose rows may be shown, what stands for the sites that do not answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from cascade.api.adopt import adopt
from cascade.api.core import Core
from cascade.api.forward import north_doc, north_ids, site_reply, to_hub
from cascade.api.request import Request, Response
from cascade.model.reply import Reply
from cascade.routing import lists, partial
from cascade.store.index import IndexEntry

log = structlog.get_logger(__name__)

MISSING = "X-Cascade-Missing-Zones"
"""Answer header: zones whose rows are not in this list."""
_PAST = frozenset({"changes-since", "changes-before", "deleted"})
"""Parameters that bring back what is gone, also from sites where nothing is left."""


async def zonal_list(core: Core, req: Request) -> Response:
    """GET of a zonal collection: only sites where the project has something are asked."""
    row = req.row
    assert row is not None
    every = req.caller.is_admin and _asks_all(req)
    project = None if every else req.caller.project_id
    ever = any(k in _PAST or (k == "status" and v.lower() == "deleted") for k, v in req.params)
    present = await core.store.index.sites_of(None, project, ever=ever)
    names = [n for n in core.sites.names() if n in present]
    usable = [n for n in names if core.sites.usable(n)]
    if not usable and not names:
        return await to_hub(core, req)  # an empty list, or the service's own word on a bad parameter

    params, together = req.params, None
    if row.resource == "server" and (reservation := req.param("reservation_id")) is not None:
        together = await core.store.docs.get(f"reservation/{reservation}")
        if together is not None:  # servers of one request, each of which has a reservation of its own at the site
            params = [(k, v) for k, v in params if k != "reservation_id"]

    async def keep(site: str, rows: Sequence[lists.Row]) -> list[lists.Row]:
        kept = [r for r in rows if together is None or r.id in together]
        return await _ours(core, row.resource, site, kept) if every else kept

    what = lists.Listing(
        service=req.service, path=req.path, collection=row.collection, kind=row.resource, ties=row.ties, params=params,
        project=project, owners=await _owners(core, usable, project), keep=keep if every or together is not None else None,
        deadline=core.conf.list_deadline,
    )  # fmt: skip

    async def ask(site: str, path: str, params: Sequence[tuple[str, str]], timeout: float) -> Reply:
        return await site_reply(core, req, site, path=path, params=list(params), timeout=timeout)

    async def north(site: str, ids: Sequence[str]) -> Mapping[str, str]:
        return await north_ids(core, site, ids, req.caller)

    away = sorted(set(names) - set(usable))
    try:
        page = await lists.page(what, usable, away=away, ask=ask, north=north, index=core.store.index, cursors=core.cursors)
    except lists.UnknownMarker:
        return await to_hub(core, req)  # knows no marker at all: its own 400 (Nova) or 404 (Cinder)
    if page.foreign:
        log.error("a site showed rows of another project; dropped", rows=page.foreign, sites=usable)
    missing = sorted(page.failed)
    rows = await _north_rows(core, req, page.rows, every=every)
    rows = await _partial(core, req, missing, project, rows)
    doc: dict[str, Any] = {row.collection: rows, **page.extra}
    if page.more and page.rows:
        last = page.rows[-1]
        marker = (await north(last.site, [last.id])).get(last.id, last.id)
        doc[lists.links_key(row.collection)] = [{"rel": "next", "href": lists.next_href(_url(core, req), req.params, marker)}]
    headers = _version_headers(req)
    if missing:
        headers[MISSING] = ",".join(missing)
    return Response.of(doc, headers=headers)


async def _north_rows(core: Core, req: Request, rows: Sequence[lists.Row], *, every: bool) -> list[Any]:
    """Rows in north terms, in order."""
    by_site: dict[str, list[Any]] = {}
    for row in rows:
        by_site.setdefault(row.site, []).append(msgspec.json.decode(row.raw))
    done = {site: iter(await north_doc(core, site, docs, req.caller, req.service)) for site, docs in by_site.items()}
    out = [next(done[row.site]) for row in rows]
    if not every and req.caller.project_id:
        await _learn(core, req, [r for r, doc in zip(rows, out, strict=True) if doc.get("status") != "DELETED"])
    return out


async def _ours(core: Core, kind: str, site: str, rows: Sequence[lists.Row]) -> list[lists.Row]:
    """Rows of north projects: a mapped site has tenants of its own, who are no business of our administrators."""
    if core.sites.get(site).identity == "shared":
        return list(rows)
    shadows = await core.store.pairs.to_hub(site, {r.owner for r in rows if r.owner})
    # Some kinds do not say whose they are (attachments, messages): of those only what went through us is known.
    silent = {r.id for r in rows if r.owner is None}
    strange = await core.store.index.unknown(kind, silent)
    return [r for r in rows if (r.owner in shadows if r.owner else r.id not in strange)]


async def _learn(core: Core, req: Request, rows: Sequence[lists.Row]) -> None:
    """Things a site made by itself (a boot volume) become known when they are first seen."""
    assert req.row is not None
    known: dict[str, str] = {}
    for site in {r.site for r in rows}:
        here = [r.id for r in rows if r.site == site]
        known |= dict(zip(here, here, strict=True)) | await north_ids(core, site, here, req.caller)
    new = await core.store.index.unknown(req.row.resource, set(known.values()))
    entries = [
        IndexEntry(
            kind=req.row.resource, id=known[r.id], site=r.site, project_id=req.caller.project_id or "", user_id=req.caller.user_id,
            created=r.created, deleted=None,
        )
        for r in rows if known[r.id] in new
    ]  # fmt: skip
    await adopt(core, entries)


async def _partial(core: Core, req: Request, missing: list[str], project: str | None, rows: list[Any]) -> list[Any]:
    """Nova's records of servers in cells that do not answer stand in front (2.69 and above)."""
    assert req.row is not None
    if req.row.resource != "server" or not missing or not partial.wanted(req.version, req.params, is_admin=req.caller.is_admin):
        return rows
    entries: list[IndexEntry] = []
    for site in missing:
        entries += await core.store.index.page("server", site, project, limit=lists.MAX_PAGE)
    public = core.conf.public_url.rstrip("/") + "/compute"
    return partial.partial_rows(entries, detail=req.path.endswith("/detail"), public=public) + rows


async def _owners(core: Core, sites: Sequence[str], project: str | None) -> dict[str, str]:
    if project is None:
        return {}
    out = {}
    for site in sites:
        if core.sites.get(site).identity == "shared":
            out[site] = project
            continue
        pair = await core.store.pairs.get("project", project, site)
        out[site] = pair.site_id if pair is not None else await core.south.shadow.project(site, project)
    return out


def _asks_all(req: Request) -> bool:
    value = req.param("all_tenants")
    return value is not None and value.lower() not in ("0", "false", "f", "no", "n", "off")


def _url(core: Core, req: Request) -> str:
    base = core.conf.public_url.rstrip("/")
    if req.service == "compute":
        return f"{base}/compute/v2.1{req.path}"
    return f"{base}/volume/v3/{req.caller.project_id}{req.path}"


def _version_headers(req: Request) -> dict[str, str]:
    """What the services say of versions in every answer."""
    if req.version is None:
        return {}
    out = {"OpenStack-API-Version": f"{req.service} {req.version}", "Vary": "OpenStack-API-Version"}
    if req.service == "compute":
        out |= {"X-OpenStack-Nova-API-Version": req.version, "Vary": "OpenStack-API-Version, X-OpenStack-Nova-API-Version"}
    return out
