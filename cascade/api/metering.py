"""/metric: the Gnocchi API over the sites that have one. Where a resource or metric is, who is asked, who answers alone.

There is no Gnocchi at the hub and nothing is kept here: each site measures what lives in it. A resource of a server or volume has
the id that the server or volume has; a site's metric ids are random, so they are unique over sites. Whatever a request names is
looked for by asking (once: the answer never changes and is remembered).
"""

from __future__ import annotations

import asyncio
import dataclasses
import re
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from cascade.api import metering_owners
from cascade.api.core import Core
from cascade.api.forward import north_ids
from cascade.api.links import north_links
from cascade.api.metering_calls import answer, from_site, site_reply
from cascade.api.request import Request, Response
from cascade.model.caller import Caller
from cascade.model.errors import Fault, SiteError
from cascade.model.reply import Reply
from cascade.reconcile.metering import catch_up
from cascade.routing import translate
from cascade.routing.plan import rendezvous

MISSING = "X-Cascade-Missing-Zones"
_REMEMBERED = 100_000
_UUID = re.compile(r"[0-9a-fA-F]{8}-?(?:[0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}")
_SHOWN = {"resource": "/v1/resource/generic/", "metric": "/v1/metric/"}


@dataclass(frozen=True, slots=True)
class Places:
    """Sites of one request: those to ask, and those that should be asked and do not answer."""

    asked: tuple[str, ...]
    missing: tuple[str, ...]


class Whereabouts:
    """Site of what was found by asking, by kind and id. Bounded; who may see it, the site judges at every call.

    A resource may have a name in place of an id: Gnocchi makes its id of it and of who made it, so each user has names of his own.
    """

    def __init__(self, size: int = _REMEMBERED) -> None:
        self._size = size
        self._known: OrderedDict[tuple[str, ...], str] = OrderedDict()

    def get(self, caller: Caller, kind: str, ident: str) -> str | None:
        """The site, if known."""
        return self._known.get(_meant(caller, kind, ident))

    def put(self, caller: Caller, kind: str, ident: str, site: str) -> None:
        """Remember."""
        self._known[_meant(caller, kind, ident)] = site
        while len(self._known) > self._size:
            self._known.popitem(last=False)

    def drop(self, caller: Caller, kind: str, ident: str) -> None:
        """It is not there any more."""
        self._known.pop(_meant(caller, kind, ident), None)


def _meant(caller: Caller, kind: str, ident: str) -> tuple[str, ...]:
    return (kind, ident) if _UUID.fullmatch(ident) else (kind, ident, str(caller.user_id), str(caller.project_id))


WHEREABOUTS = Whereabouts()


async def places(core: Core, req: Request) -> Places:
    """The metered sites where the caller's project is known; of an administrator: all of them.

    A project that never used a site has no shadow there, and so nothing that was measured.
    """
    asked: list[str] = []
    missing: list[str] = []
    for name in core.sites.names():
        everybody = req.caller.is_admin or core.sites.get(name).identity == "shared"
        if not everybody and await core.store.pairs.get("project", str(req.caller.project_id), name) is None:
            continue
        offered = core.south.base_urls(name)
        if offered and "metric" not in offered:
            continue
        up = core.sites.usable(name) and core.sites.health.allows(name, "metric")
        if up and not offered:
            try:
                up = await core.south.offers(name, "metric")
            except SiteError:
                missing.append(name)
                continue
            if not up:
                continue
        if up:
            try:
                await catch_up(core.store, core.south, name)
            except SiteError:
                up = False
        (asked if up else missing).append(name)
    return Places(tuple(asked), tuple(missing))


async def home(core: Core, req: Request) -> str:
    """Where what has no other place goes: the project's home site if it is metered, else one by hash. Raises Fault 503."""
    metered = [n for n in core.sites.names() if core.sites.usable(n) and await _offers(core, n)]
    own = await core.store.index.home_of(str(req.caller.project_id))
    if own is not None and own in metered:
        return own
    if not metered:
        raise Fault(503, "No availability zone measures at the moment.", headers={"Retry-After": "10"})
    return rendezvous(str(req.caller.project_id), metered)


async def _offers(core: Core, name: str) -> bool:
    try:
        return await core.south.offers(name, "metric")
    except SiteError:
        return False


def away(missing: Iterable[str]) -> Fault:
    """What cannot be answered without these sites."""
    return Fault(503, f"Availability zone {', '.join(missing)} is not available at the moment.", headers={"Retry-After": "10"})


def said(missing: Sequence[str]) -> dict[str, str]:
    """The header that names the zones an answer does not cover."""
    return {MISSING: ",".join(missing)} if missing else {}


async def scattered(
    core: Core, req: Request, sites: Sequence[str], path: str | None = None, *, doc: Any = None
) -> dict[str, Reply | SiteError]:
    """The request at several sites at once; a site that fails is told from one that refuses."""

    async def one(name: str) -> Reply | SiteError:
        try:
            return await site_reply(core, req, name, path=path, doc=doc, timeout=core.conf.list_deadline)
        except SiteError as e:
            return e

    return dict(zip(sites, await asyncio.gather(*(one(n) for n in sites)), strict=True))


async def locate(core: Core, req: Request, kind: str, idents: Sequence[str]) -> tuple[dict[str, str], Places]:
    """``(id -> site, who was there to ask)``: ids nobody knows are left out.

    Raises Fault 503 where a dead site may know one, 404 for what is not this cloud's.
    """
    where = await places(core, req)
    found = {i: site for i in idents if (site := WHEREABOUTS.get(req.caller, kind, i)) is not None}

    async def ask(ident: str) -> None:
        shown = Request(service=req.service, method="GET", path=_SHOWN[kind] + quote(ident, safe=":@"), params=[],
                        headers={"accept": "application/json"}, caller=req.caller, request_id=req.request_id)  # fmt: skip
        replies = await scattered(core, shown, where.asked)
        for site, reply in replies.items():
            if isinstance(reply, Reply) and reply.status in (200, 403):
                if reply.ok and not await metering_owners.KINDS[kind](core, req.caller, site, [reply.json()]):
                    raise Fault(404, f"{kind.capitalize()} {ident} does not exist")  # a tenant's of the site's owner
                found[ident] = site
                if reply.ok:
                    WHEREABOUTS.put(req.caller, kind, ident, site)
                return
        if failed := [*where.missing, *(s for s, r in replies.items() if isinstance(r, SiteError))]:
            raise away(failed)

    await asyncio.gather(*(ask(i) for i in dict.fromkeys(idents) if i not in found))
    return found, where


async def at(core: Core, req: Request, site: str, *, doc: Any = None) -> Response:
    """The site answers; of a history also with the link to its next page."""
    reply = await site_reply(core, req, site, doc=doc)
    found = await from_site(core, req, site, reply)
    if "link" in reply.headers:
        link = north_links(core, site, reply.headers["link"].encode()).decode()
        found.headers["Link"] = translate.rewrite_text(link, await north_ids(core, site, translate.tokens_text(link), req.caller))
    return found


async def any_site(core: Core, req: Request) -> Response:
    """What is the same everywhere (archive policies, documents, refusals): the first site that answers."""
    where = await places(core, req)
    for site in where.asked:
        try:
            return await at(core, req, site)
        except SiteError:
            continue
    if where.asked or where.missing:
        raise away([*where.asked, *where.missing])
    return await at(core, req, await home(core, req))


async def at_home(core: Core, req: Request) -> Response:
    """What comes from outside and names no site (Prometheus, InfluxDB): the project's home site keeps it."""
    return await at(core, req, await home(core, req))


async def zonal(core: Core, req: Request) -> Response:
    """One resource or metric and all below it."""
    assert req.row is not None
    kind, ident = req.row.resource, unquote(req.match["id"])
    found, _ = await locate(core, req, kind, [ident])
    if ident not in found:
        return await any_site(core, req)  # its own 404
    shown = await at(core, req, found[ident])
    if shown.status == 404 or (req.method == "DELETE" and shown.status < 300):
        WHEREABOUTS.drop(req.caller, kind, ident)
    return shown


async def create(core: Core, req: Request) -> Response:
    """A resource goes where the thing it stands for is, a metric where its resource is; else to the home site."""
    assert req.row is not None
    doc = req.json()
    named = doc.get("id" if req.row.resource == "resource" else "resource_id") if isinstance(doc, dict) else None
    site = None
    if isinstance(named, str):
        entry = await core.store.index.find(named)
        if entry is not None and (entry.project_id == req.caller.project_id or req.caller.is_admin):
            site = entry.site if entry.site in (await places(core, req)).asked else None
        if site is None:  # a second one of this id must be refused by the site that has the first
            site = (await locate(core, req, "resource", [named]))[0].get(named)
    return await at(core, req, site or await home(core, req))


async def one_site(core: Core, req: Request) -> Response:
    """Values of the metrics that the query names: together where all are in one site. Raises Fault 400 where they are not."""
    named = [v for k, v in req.params if k in ("metric", "metric_id")]
    found, _ = await locate(core, req, "metric", named)
    sites = set(found.values())
    if len(sites) > 1:
        raise Fault(400, "These metrics are in different availability zones: use /v1/aggregates.")
    return await at(core, req, sites.pop()) if sites else await any_site(core, req)


async def sole(core: Core, req: Request) -> Response:
    """The old aggregation over resources: its answer where one site alone has one. Raises Fault 400, 503."""
    where = await places(core, req)
    replies = await scattered(core, req, where.asked)
    if failed := [*where.missing, *(s for s, r in replies.items() if isinstance(r, SiteError))]:
        raise away(failed)
    full = {s: r for s, r in replies.items() if isinstance(r, Reply) and r.status != 404 and r.body.strip() not in (b"[]", b"{}")}
    if len(full) > 1 and all(r.ok for r in full.values()):
        raise Fault(400, "These metrics are in different availability zones: use /v1/aggregates.")
    for site, reply in (full or replies).items():
        if isinstance(reply, Reply):
            return await from_site(core, req, site, reply)
    return await any_site(core, req)


async def bulk_delete(core: Core, req: Request) -> Response:
    """DELETE of all resources that match: nothing is deleted while a site is away, and the counts add up."""
    where = await places(core, req)
    if where.missing:
        raise away(where.missing)
    if len(where.asked) < 2:
        return await any_site(core, req)
    replies = await scattered(core, req, where.asked)
    total = 0
    for site, reply in replies.items():
        if isinstance(reply, SiteError):
            raise reply
        if not reply.ok:
            return await from_site(core, req, site, reply)
        total += int(reply.json()["deleted"])
    return answer({"deleted": total})


async def batch(core: Core, req: Request) -> Response:
    """Measures of many metrics or resources, each to its site. Nothing is written where one of them is unknown."""
    assert req.row is not None
    doc = req.json()
    if not isinstance(doc, dict) or not doc:
        return await any_site(core, req)
    found, _ = await locate(core, req, req.row.resource, list(doc))
    shares: dict[str, dict[str, Any]] = {}
    for ident, measures in doc.items():
        shares.setdefault(found.get(ident, ""), {})[ident] = measures
    if "" in shares:  # the site that is asked for these alone says what it thinks of them, as for all it would
        return await any_site(core, _with(req, shares[""]))
    if len(shares) == 1:
        return await at(core, req, next(iter(shares)))
    answers = await asyncio.gather(*(at(core, _with(req, share), site) for site, share in shares.items()))
    return next((a for a in answers if a.status >= 300), answers[0])


def _with(req: Request, doc: Any) -> Request:
    return dataclasses.replace(req, body=msgspec.json.encode(doc))


async def status(core: Core, req: Request) -> Response:
    """GET /v1/status: what waits to be processed, in all."""
    where = await places(core, req)
    replies = await scattered(core, req, where.asked)
    good = {s: r.json() for s, r in replies.items() if isinstance(r, Reply) and r.ok}
    if not good:
        return await any_site(core, req)
    missing = sorted({*where.missing, *(s for s in where.asked if s not in good)})
    total: dict[str, Any] = {"storage": {"summary": {"metrics": 0, "measures": 0}}}
    total["metricd"] = {"processors": None, "statistics": {}}
    for site, doc in good.items():
        storage, daemons = doc["storage"], doc.get("metricd", {})
        for key, value in storage["summary"].items():
            total["storage"]["summary"][key] += value
        if "measures_to_process" in storage:
            total["storage"].setdefault("measures_to_process", {}).update(storage["measures_to_process"])
        names = [f"{n}.{site}" for n in daemons.get("processors") or ()]
        if names:
            total["metricd"]["processors"] = [*(total["metricd"]["processors"] or ()), *names]
        total["metricd"]["statistics"] |= {f"{n}.{site}": v for n, v in (daemons.get("statistics") or {}).items()}
    return answer(total, said(missing))


async def capabilities(core: Core, req: Request) -> Response:
    """GET /v1/capabilities: what every site can."""
    where = await places(core, req)
    replies = await scattered(core, req, where.asked)
    good = [set(r.json()["aggregation_methods"]) for r in replies.values() if isinstance(r, Reply) and r.ok]
    if not good:
        return await any_site(core, req)
    return answer({"aggregation_methods": sorted(set.intersection(*good))}, said(where.missing))
