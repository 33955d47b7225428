"""What is computed over all sites: hypervisors, services, migrations, pools. Sites that do not answer are left out, and a
header says which (administrators read these; site names are no secret to them)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any
from urllib.parse import quote, unquote

import msgspec

from cascade.api.core import Core
from cascade.api.forward import from_hub, from_site, hub_reply, north_doc, site_reply, to_hub
from cascade.api.request import Params, Request, Response
from cascade.api.zonal import locate
from cascade.model.errors import Fault, NativeFault, SiteError
from cascade.model.ids import north_host, split_host, split_int
from cascade.routing.bodies import south_host
from cascade.sites.versions import at_least

MISSING = "X-Cascade-Missing-Zones"
"""Answer header naming the zones an aggregate does not cover."""
IDS = ("id",)
"""Keys of integer ids in the documents of this module."""
_PAGES = 50
"""Pages of one site's list read for one answer."""

Asked = tuple[str, Params]
Gathered = tuple[dict[str, Any], list[str], Response | None]


async def gather(
    core: Core,
    req: Request,
    *,
    sites: list[str] | None = None,
    ask: Callable[[str], Asked | None] | None = None,
    nothing: Collection[int] = (404,),
) -> Gathered:
    """``(site -> north document, sites missing, a refusal)``.

    ``ask``: path and parameters for a site, None to leave it out. What all sites refuse (4xx) is refused; a site that
    refuses alone has nothing to show (a status in ``nothing``) or is missing.
    """
    refusals: list[NativeFault | Fault] = []

    async def one(name: str) -> tuple[str, Any]:
        if not core.sites.usable(name):
            return name, None
        asked = (req.path, req.params) if ask is None else ask(name)
        if asked is None:
            return name, {}
        try:
            reply = (await site_reply(core, req, name, path=asked[0], params=asked[1])).expect()
            return name, await north_doc(core, name, reply.json(), req.caller, req.service, ints=IDS)
        except SiteError:
            return name, None
        except (NativeFault, Fault) as e:
            refusals.append(e)
            return name, {} if e.status in nothing else None

    found = dict(await asyncio.gather(*(one(n) for n in (core.sites.names() if sites is None else sites))))
    if refusals and not any(found.values()):
        e = refusals[0]
        if isinstance(e, Fault):
            raise e
        headers = {"Content-Type": e.headers.get("content-type", "application/json")}
        return {}, [], Response(status=e.status, headers=headers, body=e.body)
    return {k: v for k, v in found.items() if v}, sorted(k for k, v in found.items() if v is None), None


def said(missing: list[str], req: Request) -> dict[str, str]:
    """Headers of an answer that is nobody's alone."""
    return {MISSING: ",".join(missing)} if missing and req.caller.is_admin else {}


async def concatenated(
    core: Core,
    req: Request,
    key: str,
    *,
    ask: Callable[[str], Asked | None] | None = None,
    newest: str = "",
    marker: str = "id",
    server: str = "",
) -> Response:
    """One list from all sites', in pages over the whole. ``newest``: sort by this field, latest first.
    ``server``: the field that names a server; rows of the site owner's own tenants' are left out."""
    limit, start = _limit(req), req.param("marker")
    if limit is None and req.param("limit") is not None:
        return await to_hub(core, req)  # no number: its own refusal
    paged = limit is not None or start is not None
    if not paged:
        found, missing, refusal = await gather(core, req, ask=ask)
    else:
        found, missing, refusal = await _whole(core, req, key, ask, marker)
    if refusal is not None:
        return refusal
    rows = [row for site in sorted(found) for row in found[site].get(key, ())]
    if server:
        strange = await core.store.index.unknown("server", {r[server] for r in rows})
        rows = [r for r in rows if r[server] not in strange]
    if newest:
        rows.sort(key=lambda r: str(r.get(newest)), reverse=True)
    links: dict[str, Any] = {}
    if start is not None:
        at = next((i for i, r in enumerate(rows) if str(r.get(marker)) == start), None)
        if at is None:
            return await to_hub(core, req)  # knows no marker: its own refusal
        rows = rows[at + 1 :]
    if limit is not None and len(rows) > limit:
        rows = rows[:limit]
        if rows:
            links[f"{key}_links"] = [{"rel": "next", "href": _next(core, req, str(rows[-1].get(marker)))}]
    return Response.of({key: rows, **links}, headers=said(missing, req))


async def _whole(core: Core, req: Request, key: str, ask: Callable[[str], Asked | None] | None, marker: str) -> Gathered:
    """Every page of every site: these lists are as long as there are hosts."""
    total: dict[str, Any] = {}
    after: dict[str, str | None] = dict.fromkeys(core.sites.names())
    away: list[str] = []
    for _ in range(_PAGES):

        def page(site: str, after: dict[str, str | None] = after) -> Asked | None:
            asked = (req.path, req.params) if ask is None else ask(site)
            if asked is None:
                return None
            mark = after[site]
            kept = [(k, v) for k, v in asked[1] if k not in ("limit", "marker")]
            return asked[0], kept + ([("marker", mark)] if mark is not None else [])

        found, missing, refusal = await gather(core, req, sites=list(after), ask=page)
        if refusal is not None:
            return {}, [], refusal
        away += missing
        for site, doc in found.items():
            total.setdefault(site, {key: []})[key] += doc.get(key, [])
        after = {s: str(d[key][-1][marker]) for s, d in found.items() if d.get(f"{key}_links") and d.get(key)}
        if not after:
            break
    return total, sorted(set(away)), None


def _limit(req: Request) -> int | None:
    text = req.param("limit")
    return int(text[:9]) if text is not None and text.isascii() and text.isdigit() else None


def _next(core: Core, req: Request, marker: str) -> str:
    from cascade.routing.lists import next_href

    return next_href(f"{core.conf.public_url.rstrip('/')}/{req.service}{req.root}{req.path}", req.params, marker)


def site_of_int(core: Core, ident: str) -> tuple[str, int] | None:
    """``(site, its own id)`` of a north integer id."""
    if not (ident.isascii() and ident.isdigit() and len(ident) < 19):
        return None
    number, n = split_int(int(ident))
    site = next((s for s in core.sites.names() if core.sites.get(s).number == number), None)
    return None if site is None else (site, n)


async def by_integer(core: Core, req: Request, ident: str) -> Response | None:
    """Forward a request whose path holds a north integer id to its site; None if it is none of ours."""
    found = site_of_int(core, ident)
    if found is None:
        return None
    site, n = found
    reply = await site_reply(core, req, site, path=req.path.replace(f"/{ident}", f"/{n}", 1))
    return await from_site(core, req, site, reply, ints=IDS)


async def any_site(core: Core, req: Request) -> Response | None:
    """The first site that knows a UUID-named thing (services, hypervisors): administrators only, a handful of calls."""
    for site in core.sites.names():
        if not core.sites.usable(site):
            continue
        reply = await site_reply(core, req, site)
        if reply.status != 404:
            return await from_site(core, req, site, reply, ints=IDS)
    return None


def pattern_at(core: Core, site: str, pattern: str) -> str | None:
    """A host name or part of one as this site knows it; None where it is of another site."""
    named = split_host(pattern)
    if named is None or named[0] not in core.sites.names():
        return pattern
    return south_host(core.sites.get(site), pattern) if named[0] == site else None


async def hypervisors(core: Core, req: Request) -> Response:
    """GET /os-hypervisors..."""
    rest = req.match["rest"]
    if rest == "/statistics":
        return await _summed(core, req, "hypervisor_statistics")
    _, _, tail = rest.partition("/")
    name, _, what = tail.partition("/")
    if rest in ("", "/detail"):
        answer = await concatenated(core, req, "hypervisors", ask=_named(core, req, "hypervisor_hostname_pattern"))
        return await _of_ours(core, answer)
    if what in ("search", "servers"):  # up to 2.52

        def ask(site: str) -> Asked | None:
            pattern = pattern_at(core, site, unquote(name))
            return None if pattern is None else (f"/os-hypervisors/{quote(pattern, safe='')}/{what}", req.params)

        found, missing, refusal = await gather(core, req, ask=ask)
        if refusal is not None or not found:
            return refusal or await to_hub(core, req)
        rows = [r for site in sorted(found) for r in found[site]["hypervisors"]]
        return await _of_ours(core, Response.of({"hypervisors": rows}, headers=said(missing, req)))
    answer = await by_integer(core, req, name) or await any_site(core, req) or from_hub(core, await hub_reply(core, req))
    return await _of_ours(core, answer)


def _named(core: Core, req: Request, param: str) -> Callable[[str], Asked | None]:
    """Parameters with a host pattern made the site's; a site whose hosts cannot be meant is left out."""

    def ask(site: str) -> Asked | None:
        pattern = req.param(param)
        if pattern is None:
            return req.path, req.params
        own = pattern_at(core, site, pattern)
        return None if own is None else (req.path, [(k, own if k == param else v) for k, v in req.params])

    return ask


async def _of_ours(core: Core, answer: Response) -> Response:
    """Without the servers of the site owner's own tenants in what hypervisors show."""
    if b'"servers"' not in answer.body:
        return answer
    doc = msgspec.json.decode(answer.body)
    rows = doc.get("hypervisors", [doc.get("hypervisor")])
    for row in rows:
        if isinstance(row, dict) and isinstance(row.get("servers"), list):
            strange = await core.store.index.unknown("server", {s["uuid"] for s in row["servers"]})
            row["servers"] = [s for s in row["servers"] if s["uuid"] not in strange]
    answer.body = msgspec.json.encode(doc)
    return answer


async def _summed(core: Core, req: Request, key: str) -> Response:
    if at_least(req.version, "2.88"):
        return await to_hub(core, req)  # gone from the API
    found, missing, refusal = await gather(core, req)
    if refusal is not None:
        return refusal
    total: dict[str, int] = {}
    for doc in found.values():
        for name, value in doc[key].items():
            total[name] = total.get(name, 0) + int(value)
    return Response.of({key: total}, headers=said(missing, req))


async def services(core: Core, req: Request) -> Response:
    """/os-services of Nova and Cinder: listed over sites, written at the site the host name or id says."""
    if req.method == "GET" and not req.match["rest"]:
        return await concatenated(core, req, "services")
    core.hosts.forget()
    doc = req.json()
    host = doc.get("host") if isinstance(doc, dict) else None
    answer = await _at_host(core, req, host) if isinstance(host, str) else None
    if answer is None:
        ident = req.match["rest"].strip("/")
        answer = await by_integer(core, req, ident) or (await any_site(core, req) if len(ident) == 36 else None)
    return answer or from_hub(core, await hub_reply(core, req))


async def _at_host(core: Core, req: Request, host: str, *, path: str | None = None) -> Response | None:
    """The request at the site of a north host name; None where it names none."""
    where = split_host(host)
    if where is None or where[0] not in core.sites.names():
        return None
    return await from_site(core, req, where[0], await site_reply(core, req, where[0], path=path), ints=IDS)


async def hosts(core: Core, req: Request) -> Response:
    """/os-hosts of Nova (up to 2.42) and Cinder."""
    name, _, what = unquote(req.match["rest"].strip("/")).partition("/")
    if not name:
        return await concatenated(core, req, "hosts")
    where = split_host(name)
    tail = f"/{what}" if what else ""
    path = f"/os-hosts/{quote(where[1], safe='@#')}{tail}" if where else None
    return await _at_host(core, req, name, path=path) or await to_hub(core, req)


async def migrations(core: Core, req: Request) -> Response:
    """GET /os-migrations."""
    return await concatenated(core, req, "migrations", newest="created_at", marker="uuid", server="instance_uuid")


async def server_migrations(core: Core, req: Request) -> Response:
    """/servers/{id}/migrations...: their integer ids are those of /os-migrations."""
    entry = await locate(core, req, "server", req.match["id"])
    if entry is None:
        return await to_hub(core, req)
    if not core.sites.usable(entry.site):
        raise Fault(503, f"Availability zone {entry.site} is not available at the moment.", headers={"Retry-After": "10"})
    ident = req.match["rest"].strip("/").partition("/")[0]
    found = site_of_int(core, ident)
    path = req.path
    if found is not None and found[0] == entry.site:
        path = path.replace(f"/migrations/{ident}", f"/migrations/{found[1]}")
    return await from_site(core, req, entry.site, await site_reply(core, req, entry.site, path=path), ints=IDS)


async def pools(core: Core, req: Request) -> Response:
    """GET /scheduler-stats/get_pools: the hub has no scheduler and would answer 500."""
    found, missing, refusal = await gather(core, req)
    if refusal is not None:
        return refusal
    rows = [row | {"name": north_host(site, row["name"])} for site, doc in sorted(found.items()) for row in doc["pools"]]
    return Response.of({"pools": rows}, headers=said(missing, req))
