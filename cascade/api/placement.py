"""Placement north: one inventory out of the sites', to be read by administrators (and by a tenant, his project's usages).

A provider is known by its uuid, which is unique as it is; its name is the host's and gets the site behind it, as everywhere.
Writes are refused: what a provider has is the business of the site's own Nova and Neutron.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

from cascade.api.aggregate import MISSING, gather, pattern_at
from cascade.api.app import Handler
from cascade.api.core import Core
from cascade.api.forward import from_site, north_doc, site_reply
from cascade.api.request import Params, Request, Response
from cascade.api.zonal import locate
from cascade.model.errors import Fault, SiteError
from cascade.model.ids import north_host, split_host
from cascade.model.reply import Reply
from cascade.model.table import find
from cascade.sites.versions import at_least
from cascade.tables.placement import ROWS

_NOTHING = frozenset({400, 404})
"""What a site says alone has nothing of what is asked: a trait or a class that only others know."""
_DATED_FROM = "1.15"
_HREF = re.compile(r"/(?:resource_providers|resource_classes|allocations|traits)(?:[/?]|$)")


async def listed(core: Core, req: Request) -> Response:
    """GET of a collection: providers of all sites; of classes and traits those that any has."""
    assert req.row is not None
    _administrator(req)
    key = req.row.collection

    def ask(site: str) -> tuple[str, Params] | None:
        if key != "resource_providers" or (name := req.param("name")) is None:
            return req.path, req.params
        own = pattern_at(core, site, name) if split_host(name) else None
        return None if own is None else (req.path, [(k, own if k == "name" else v) for k, v in req.params])

    found, missing, refusal = await gather(core, req, ask=ask, nothing=_NOTHING)
    if refusal is not None:
        return refusal
    rows = [_north(core, site, row) for site in sorted(found) for row in found[site][key]]
    if key != "resource_providers":
        rows = list({row if isinstance(row, str) else row["name"]: row for row in rows}.values())
    return _answer(req, {key: rows}, missing)


async def one(core: Core, req: Request) -> Response:
    """GET of a provider, what stands below it, a class or a trait: the site that has it says it."""
    _administrator(req)
    site, reply = await _where(core, req)
    if not reply.body or not reply.ok:
        return await from_site(core, req, site, reply)
    doc = await north_doc(core, site, reply.json(), req.caller, req.service)
    if isinstance(doc.get("allocations"), dict):
        doc["allocations"] = await _of_ours(core, doc["allocations"])
    answer = Response.passed(reply)
    answer.body = Response.of(_north(core, site, doc)).body
    return answer


async def _where(core: Core, req: Request) -> tuple[str, Reply]:
    """The site that knows what the path names, and its answer; else a refusal that all give. Raises Fault 503, 404."""

    async def ask(site: str) -> tuple[str, Reply | None]:
        try:
            return site, await site_reply(core, req, site) if core.sites.usable(site) else None
        except SiteError:
            return site, None

    answers = await asyncio.gather(*(ask(site) for site in core.sites.names()))
    heard = [(site, reply) for site, reply in answers if reply is not None and reply.status < 500]
    known = next(((site, reply) for site, reply in heard if reply.status != 404), None)
    if known is None and len(heard) < len(answers):
        raise Fault(503, "Not all availability zones answer at the moment.", headers={"Retry-After": "10"})
    if known is None and not heard:
        raise Fault(404, "There is no such resource.")
    return known or heard[0]


async def candidates(core: Core, req: Request) -> Response:
    """GET /allocation_candidates: those of every site; each lies in one site."""
    _administrator(req)
    found, missing, refusal = await gather(core, req, nothing=_NOTHING)
    if refusal is not None:
        return refusal
    requests = [r for site in sorted(found) for r in found[site]["allocation_requests"]]
    summaries = {uuid: what for doc in found.values() for uuid, what in doc["provider_summaries"].items()}
    limit = req.param("limit")
    if limit is not None and limit.isdecimal() and len(requests) > int(limit):
        requests = requests[: int(limit)]
        roots = {summaries[u].get("root_provider_uuid", u) for r in requests for u in _providers(r) if u in summaries}
        summaries = {u: s for u, s in summaries.items() if s.get("root_provider_uuid", u) in roots}
    return _answer(req, {"allocation_requests": requests, "provider_summaries": summaries}, missing)


def _providers(request: dict[str, Any]) -> list[str]:
    """The providers of an allocation request; before 1.12 it is a list."""
    what = request["allocations"]
    return [a["resource_provider"]["uuid"] for a in what] if isinstance(what, list) else [*what]


async def allocations(core: Core, req: Request) -> Response:
    """GET /allocations/{consumer}: of a server of this cloud. Of what is the site owner's there is nothing to see."""
    _administrator(req)
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return _answer(req, {"allocations": {}}, [])
    reply = await site_reply(core, req, entry.site)
    return await from_site(core, req, entry.site, reply)


async def usages(core: Core, req: Request) -> Response:
    """GET /usages: sums over sites. A tenant may ask for his own project's."""
    own = req.caller.project_id is not None and req.param("project_id") == req.caller.project_id and bool(req.caller.roles)
    sites = None
    if not (own and not req.caller.is_admin):
        _administrator(req)
    else:  # nowhere else is anything of his, nor should there be an account
        sites = sorted(await core.store.index.sites_of(None, req.caller.project_id) & set(core.sites.names()))
    found, missing, refusal = await gather(core, req, sites=sites, nothing=_NOTHING)
    if refusal is not None:
        return refusal
    total: dict[str, Any] = {}
    for doc in found.values():
        _add(total, doc["usages"])
    return _answer(req, {"usages": total}, missing)


def _add(total: dict[str, Any], more: dict[str, Any]) -> None:
    """Numbers add up, also below a consumer's type (1.38)."""
    for key, value in more.items():
        if isinstance(value, dict):
            _add(total.setdefault(key, {}), value)
        else:
            total[key] = total.get(key, 0) + value


async def refused(core: Core, req: Request) -> Response:
    """What is no read: 403 for a tenant, 405 for an administrator, 404 for a path nobody has."""
    _administrator(req)
    known = find(ROWS[:-1], "GET", req.path) is not None or req.path in ("/reshaper", "/allocations")
    if not known:
        raise Fault(404, "The resource could not be found.")
    raise Fault(405, "Placement can only be read here: its providers are the sites'.", headers={"Allow": "GET"})


def _administrator(req: Request) -> None:
    """Raises Fault 403 for whom Placement's own policy refuses."""
    if not req.caller.is_admin or req.caller.project_id is None:
        raise Fault(403, "Policy does not allow this request to be performed.")


async def _of_ours(core: Core, found: dict[str, Any]) -> dict[str, Any]:
    """Allocations without those of the site owner's own tenants."""
    strange = await core.store.index.unknown("server", set(found))
    return {consumer: what for consumer, what in found.items() if consumer not in strange}


def _north(core: Core, site: str, doc: Any) -> Any:
    """A provider's or a class' document: the host's name and links as they are north."""
    if not isinstance(doc, dict):
        return doc
    out = {**doc}
    if "uuid" in doc and isinstance(doc.get("name"), str):
        out["name"] = north_host(site, doc["name"])
    if isinstance(doc.get("links"), list):
        base = urlsplit(core.conf.public_url).path.rstrip("/") + "/placement"
        out["links"] = [{**link, "href": _href(base, link["href"])} for link in doc["links"]]
    return out


def _href(base: str, href: str) -> str:
    """Placement's links are paths below where it stands."""
    at = _HREF.search(href)
    return href if at is None else base + href[at.start() :]


def _answer(req: Request, doc: Any, missing: list[str]) -> Response:
    headers = {MISSING: ",".join(missing)} if missing and req.caller.is_admin else {}
    if at_least(req.version, _DATED_FROM):
        headers |= {"Last-Modified": format_datetime(datetime.now(UTC), usegmt=True), "Cache-Control": "no-cache"}
    return Response.of(doc, headers=headers)


HANDLERS: dict[str, Handler] = {
    "placement_list": listed, "placement_one": one, "placement_candidates": candidates, "placement_allocations": allocations,
    "placement_usages": usages, "placement_refused": refused,
}  # fmt: skip
