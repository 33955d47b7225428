"""Lists over sites north: who is asked, whose rows may be shown, what stands for the sites that do not answer."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from cascade.api import building
from cascade.api.adopt import adopt
from cascade.api.core import Core
from cascade.api.forward import north_ids, site_reply, to_hub
from cascade.api.links import url_words
from cascade.api.request import Request, Response
from cascade.model.errors import BadReply
from cascade.model.reply import Reply
from cascade.routing import lists, partial
from cascade.routing.cursor import Cursors
from cascade.routing.fields import Sheet
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

    async def north(site: str, ids: Sequence[str]) -> Mapping[str, str]:
        return await north_ids(core, site, ids, req.caller)

    held = await building.among(core, req, project) if row.resource == "server" else None

    async def keep(site: str, rows: Sequence[lists.Row]) -> list[lists.Row]:
        if held is not None:
            rows = await held.others(site, rows)
        if together is not None:
            known = await north(site, [r.id for r in rows])
            rows = [r for r in rows if known.get(r.id, r.id) in together]
        return await _ours(core, row.resource, site, rows) if every and site != building.PLACE else list(rows)

    what = lists.Listing(
        service=req.service, path=req.path, collection=row.collection, kind=row.resource, ties=row.ties, params=params,
        project=project, owners=await _owners(core, usable, project), deadline=core.conf.list_deadline,
        keep=keep if every or together is not None or held is not None else None, prime=core.store.pairs.read_ahead,
    )  # fmt: skip

    async def ask(site: str, path: str, params: Sequence[tuple[str, str]], timeout: float) -> Reply:
        if held is not None and site == building.PLACE:
            return held.reply(path, params)
        return await site_reply(core, req, site, path=path, params=list(params), timeout=timeout)

    away = sorted(set(names) - set(usable))
    try:
        page = await lists.page(
            what, usable if held is None else [*usable, building.PLACE], away=away, ask=ask, north=north,
            index=core.store.index if held is None else held,
            cursors=core.cursors if held is None else Cursors(),  # rows that go from here to a site make positions worthless
        )  # fmt: skip
    except lists.UnknownMarker:
        return await to_hub(core, req)  # knows no marker at all: its own 400 (Nova) or 404 (Cinder)
    if page.foreign:
        log.error("a site showed rows of another project; dropped", rows=page.foreign, sites=usable)
    missing = sorted(page.failed)
    rows = await _north_rows(core, req, page.rows, every=every)
    rows = await _partial(core, req, missing, project, rows, {h.id for h in held.held} if held is not None else ())
    doc: dict[str, Any] = {row.collection: rows, **page.extra}
    if page.more and page.rows:
        last = page.rows[-1]
        marker = (await north(last.site, [last.id])).get(last.id, last.id)
        doc[lists.links_key(row.collection)] = [{"rel": "next", "href": lists.next_href(_url(core, req), req.params, marker)}]
    return Response.of(doc, headers={MISSING: ",".join(missing)} if missing else None)


async def _north_rows(core: Core, req: Request, rows: Sequence[lists.Row], *, every: bool) -> list[Any]:
    """Rows in north terms, in order, to be encoded."""
    raws: dict[str, list[msgspec.Raw]] = {}
    for row in rows:
        raws.setdefault(row.site, []).append(row.raw)
    done: dict[str, Iterator[Any]] = {}
    if (held := raws.pop(building.PLACE, None)) is not None:
        done[building.PLACE] = iter(held)
    sheets = {site: _sheet(core, req, site, of_site) for site, of_site in raws.items()}
    await core.store.pairs.read_ahead({site: sheet.ids for site, sheet in sheets.items()})
    for site, sheet in sheets.items():
        done[site] = iter(sheet.north({i: p.hub_id for i, p in core.store.pairs.read(site, sheet.ids).items() if p.hub_id != i}))
    out = [next(done[row.site]) for row in rows]
    if not every and req.caller.project_id:
        await _learn(core, req, [r for r in rows if r.site != building.PLACE and not r.deleted])
    return out


def _sheet(core: Core, req: Request, site: str, rows: Sequence[msgspec.Raw]) -> Sheet:
    try:
        return core.sheets.of(core.sites.get(site), req.service, url_words(core, site)).read(rows)
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise BadReply(site, f"a row is not what it must be: {e}") from e


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


async def _partial(
    core: Core, req: Request, missing: list[str], project: str | None, rows: list[Any], held: Collection[str]
) -> list[Any]:
    """Nova's records of servers in cells that do not answer stand in front (2.69 and above), but for ``held``, which do."""
    assert req.row is not None
    if req.row.resource != "server" or not missing or not partial.wanted(req.version, req.params, is_admin=req.caller.is_admin):
        return rows
    entries: list[IndexEntry] = []
    for site in missing:
        entries += await core.store.index.page("server", site, project, limit=lists.MAX_PAGE)
    entries = [e for e in entries if e.id not in held]
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
    return f"{core.conf.public_url.rstrip('/')}/{req.service}{req.root}{req.path}"
