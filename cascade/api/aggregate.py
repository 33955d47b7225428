"""What is computed over all sites: hypervisors, services, migrations, usage, pools. Sites that do not answer are left
out, and a header says which (administrators read these; site names are no secret to them)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from cascade.api.core import Core
from cascade.api.forward import from_hub, from_site, hub_reply, north_doc, site_reply
from cascade.api.request import Request, Response
from cascade.model.errors import Fault, NativeFault, SiteError
from cascade.model.ids import north_int, split_host, split_int
from cascade.sites.versions import parse

MISSING = "X-Cascade-Missing-Zones"
"""Answer header naming the zones an aggregate does not cover."""


async def gather(core: Core, req: Request, *, sites: list[str] | None = None) -> tuple[dict[str, Any], list[str], Response | None]:
    """``(site -> north document, sites missing, a refusal)``. A refusal (4xx) of any site is the answer: policies agree."""

    async def ask(name: str) -> tuple[str, Any]:
        if not core.sites.usable(name):
            return name, None
        try:
            reply = await site_reply(core, req, name)
            if not reply.ok:
                return name, reply.expect(200)
            return name, await north_doc(core, name, reply.json(), req.caller, req.service)
        except SiteError:
            return name, None

    try:
        found = dict(await asyncio.gather(*(ask(n) for n in (core.sites.names() if sites is None else sites))))
    except NativeFault as e:
        return (
            {},
            [],
            Response(status=e.status, headers={"Content-Type": e.headers.get("content-type", "application/json")}, body=e.body),
        )
    return {k: v for k, v in found.items() if v is not None}, sorted(k for k, v in found.items() if v is None), None


def _said(missing: list[str], req: Request) -> dict[str, str]:
    headers = {MISSING: ",".join(missing)} if missing and req.caller.is_admin else {}
    if req.version and req.service == "compute":
        headers |= {
            "OpenStack-API-Version": f"compute {req.version}",
            "X-OpenStack-Nova-API-Version": req.version,
            "Vary": "OpenStack-API-Version",
        }
    return headers


async def concatenated(core: Core, req: Request, key: str, *, integer_ids: bool = False) -> Response:
    """One list from all sites'."""
    found, missing, refusal = await gather(core, req)
    if refusal is not None:
        return refusal
    rows = []
    for site, doc in found.items():
        number = core.sites.get(site).number
        for row in doc.get(key, ()):
            if integer_ids and isinstance(row.get("id"), int):
                row["id"] = north_int(number, row["id"])
            rows.append(row)
    return Response.of({key: rows}, headers=_said(missing, req))


async def by_integer(core: Core, req: Request, ident: str) -> Response | None:
    """Forward a request whose path ends in a north integer id to its site; None if it is none of ours."""
    if not ident.isdigit():
        return None
    number, n = split_int(int(ident))
    site = next((s for s in core.sites.names() if core.sites.get(s).number == number), None)
    if site is None:
        return None
    reply = await site_reply(core, req, site, path=req.path.replace(f"/{ident}", f"/{n}"))
    return await from_site(core, req, site, reply)


async def any_site(core: Core, req: Request) -> Response | None:
    """The first site that knows a UUID-named thing (services, hypervisors): administrators only, a handful of calls."""
    for site in core.sites.names():
        if not core.sites.usable(site):
            continue
        reply = await site_reply(core, req, site)
        if reply.status != 404:
            return await from_site(core, req, site, reply)
    return None


async def hypervisors(core: Core, req: Request) -> Response:
    """GET /os-hypervisors..."""
    rest = req.match["rest"]
    version = parse(req.version or "2.1")
    if rest == "/statistics":
        return await _summed(core, req, "hypervisor_statistics")
    if rest in ("", "/detail"):
        return await concatenated(core, req, "hypervisors", integer_ids=version < (2, 53))
    answer = await by_integer(core, req, rest.split("/")[1]) or await any_site(core, req)
    return answer or from_hub(core, await hub_reply(core, req))


async def _summed(core: Core, req: Request, key: str) -> Response:
    found, missing, refusal = await gather(core, req)
    if refusal is not None:
        return refusal
    total: dict[str, int] = {}
    for doc in found.values():
        for name, value in doc[key].items():
            total[name] = total.get(name, 0) + int(value)
    return Response.of({key: total}, headers=_said(missing, req))


async def compute_services(core: Core, req: Request) -> Response:
    """/os-services of Nova: listed over sites, written at the site the host name or id says."""
    if req.method == "GET" and not req.match["rest"]:
        return await concatenated(core, req, "services", integer_ids=parse(req.version or "2.1") < (2, 53))
    return await _service_write(core, req)


async def volume_services(core: Core, req: Request) -> Response:
    """/os-services of Cinder."""
    if req.method == "GET" and not req.match["rest"]:
        return await concatenated(core, req, "services")
    return await _service_write(core, req)


async def _service_write(core: Core, req: Request) -> Response:
    doc = req.json()
    host = doc.get("host") if isinstance(doc, dict) else None
    where = split_host(host) if isinstance(host, str) else None
    if where is not None and where[0] in core.sites.names():
        return await from_site(core, req, where[0], await site_reply(core, req, where[0]))
    ident = req.match["rest"].strip("/")
    answer = await by_integer(core, req, ident) or (await any_site(core, req) if len(ident) == 36 else None)
    return answer or from_hub(core, await hub_reply(core, req))


async def migrations(core: Core, req: Request) -> Response:
    """GET /os-migrations."""
    return await concatenated(core, req, "migrations", integer_ids=True)


async def pools(core: Core, req: Request) -> Response:
    """GET /scheduler-stats/get_pools: the hub has no scheduler and would answer 500."""
    return await concatenated(core, req, "pools")


async def volume_summary(core: Core, req: Request) -> Response:
    """GET /volumes/summary: counts add up, metadata values are joined."""
    found, missing, refusal = await gather(core, req, sites=await _present(core, req))
    if refusal is not None:
        return refusal
    total: dict[str, Any] = {"total_size": 0, "total_count": 0}
    metadata: dict[str, set[str]] = {}
    for doc in found.values():
        summary = doc["volume-summary"]
        total["total_size"] += summary["total_size"]
        total["total_count"] += summary["total_count"]
        for key, values in summary.get("metadata", {}).items():
            metadata.setdefault(key, set()).update(values)
    if parse(req.version or "3.0") >= (3, 36):
        total["metadata"] = {k: sorted(v) for k, v in metadata.items()}
    return Response.of({"volume-summary": total}, headers=_said(missing, req))


async def _present(core: Core, req: Request) -> list[str]:
    return sorted(await core.store.index.sites_of(None, None if req.caller.is_admin else req.caller.project_id))


async def usage(core: Core, req: Request) -> Response:
    """GET /os-simple-tenant-usage[/{project}]: sums over the sites where the project has something."""
    found, missing, refusal = await gather(core, req, sites=await _present(core, req))
    if refusal is not None:
        return refusal
    if not found:
        return from_hub(core, await hub_reply(core, req))
    merged: dict[str, dict[str, Any]] = {}
    for doc in found.values():
        rows = doc.get("tenant_usages") or [doc.get("tenant_usage") or {}]
        for row in rows:
            if row:
                _add_usage(merged.setdefault(row["tenant_id"], {}), row)
    if "rest" in req.match and req.match["rest"].strip("/"):
        return Response.of({"tenant_usage": next(iter(merged.values()), {})}, headers=_said(missing, req))
    return Response.of({"tenant_usages": list(merged.values())}, headers=_said(missing, req))


def _add_usage(total: dict[str, Any], row: dict[str, Any]) -> None:
    join: dict[type, Callable[[Any, Any], Any]] = {float: lambda a, b: a + b, int: lambda a, b: a + b, list: lambda a, b: a + b}
    for key, value in row.items():
        if key in total and type(value) in join:
            total[key] = join[type(value)](total[key], value)
        elif key == "start":
            total[key] = min(total.get(key, value), value)
        elif key == "stop":
            total[key] = max(total.get(key, value), value)
        else:
            total.setdefault(key, value)


async def aggregates(core: Core, req: Request) -> Response:
    """/os-aggregates: records at the hub; a site gets its copy with the first of its hosts (design review 1.4)."""
    if req.method == "POST" and req.match["rest"].endswith("/action"):
        doc = req.json()
        for name in ("add_host", "remove_host"):
            what = doc.get(name) if isinstance(doc, dict) else None
            if isinstance(what, dict) and isinstance(what.get("host"), str):
                raise Fault(501, "Hosts cannot be put into aggregates across availability zones yet.")
    return from_hub(core, await hub_reply(core, req))
