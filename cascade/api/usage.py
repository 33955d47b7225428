"""Nova's usage records over sites: what each project used, and the audit log."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, urlsplit

from cascade.api.aggregate import gather, said
from cascade.api.core import Core
from cascade.api.forward import north_doc, site_reply, to_hub
from cascade.api.request import Params, Request, Response
from cascade.model.errors import Fault, NativeFault, SiteError
from cascade.model.ids import north_host

_PAGES = 50
"""Pages of one site's records read for one answer."""


async def usage(core: Core, req: Request) -> Response:
    """GET /os-simple-tenant-usage[/{project}]: sums over the sites where the project ever had something.

    Everything comes in one page: sums cannot be cut where a site's page ends. So after any marker there is nothing.
    """
    one = req.match["rest"].strip("/")
    key = "tenant_usage" if one else "tenant_usages"
    project = None if req.caller.is_admin else req.caller.project_id
    sites = sorted(await core.store.index.sites_of(None, project, ever=True) & set(core.sites.names()))
    if not sites:
        return await to_hub(core, req)
    answers = await asyncio.gather(*(_records(core, req, s, key) for s in sites), return_exceptions=True)
    merged: dict[str, dict[str, Any]] = {}
    missing, heard = [], False
    for site, rows in zip(sites, answers, strict=True):
        if isinstance(rows, SiteError | NativeFault | Fault):
            missing.append(site)
            continue
        if isinstance(rows, BaseException):
            raise rows
        heard = True
        for row in rows:
            _add(merged.setdefault(row["tenant_id"], {}), row)
    if not heard and (refusal := next((a for a in answers if isinstance(a, NativeFault | Fault)), None)) is not None:
        raise refusal
    if (marker := req.param("marker")) is not None:
        if await core.store.index.get("server", marker, deleted=True) is None:
            return await to_hub(core, req)  # knows no marker: its own refusal
        merged = {}
    rows_out = list(merged.values())
    doc: dict[str, Any] = {key: (rows_out[0] if rows_out else {}) if one else rows_out}
    return Response.of(doc, headers=said(missing, req))


async def _records(core: Core, req: Request, site: str, key: str) -> list[dict[str, Any]]:
    """All of a site's rows in north terms; those of its owner's own tenants are left out."""
    if not core.sites.usable(site):
        raise SiteError(site, "down")
    asked: Params = [(k, v) for k, v in req.params if k not in ("limit", "marker")]
    out: list[dict[str, Any]] = []
    mark: str | None = None
    for _ in range(_PAGES):
        reply = await site_reply(core, req, site, params=asked + ([("marker", mark)] if mark else []))
        doc = reply.expect(200).json()
        rows = [r for r in (doc[key] if isinstance(doc[key], list) else [doc[key]]) if r]
        out += [r for r in rows if await _ours(core, site, r["tenant_id"])]
        links = doc.get(f"{key}_links")
        if not links:
            break
        mark = parse_qs(urlsplit(links[0]["href"]).query)["marker"][-1]
    north: list[dict[str, Any]] = await north_doc(core, site, out, req.caller, req.service)
    return north


async def _ours(core: Core, site: str, owner: str) -> bool:
    if core.sites.get(site).identity == "shared":
        return True
    return owner in await core.store.pairs.to_hub(site, [owner])


def _add(total: dict[str, Any], row: dict[str, Any]) -> None:
    for key, value in row.items():
        if key in total and isinstance(value, int | float | list) and not isinstance(value, bool):
            total[key] = total[key] + value
        elif key == "start":
            total[key] = min(total.get(key, value), value)
        elif key == "stop":
            total[key] = max(total.get(key, value), value)
        else:
            total.setdefault(key, value)


async def audit_log(core: Core, req: Request) -> Response:
    """GET /os-instance_usage_audit_log[/{before}]: the hosts of all sites in one."""
    found, missing, refusal = await gather(core, req)
    if refusal is not None or not found:
        return refusal or await to_hub(core, req)
    total: dict[str, Any] = {}
    for site, doc in sorted(found.items()):
        ((key, row),) = doc.items()
        row["hosts_not_run"] = [north_host(site, h) for h in row["hosts_not_run"]]
        row["log"] = {north_host(site, h): what for h, what in row["log"].items()}
        for name, value in row.items():
            if isinstance(value, dict):
                total[name] = {**total.get(name, {}), **value}
            elif isinstance(value, int | list):
                total[name] = total[name] + value if name in total else value
            else:
                total.setdefault(name, value)
    done, hosts = total["num_hosts_done"], total["num_hosts"]
    start = "ALL hosts done." if done == hosts else f"{done} of {hosts} hosts done."
    total["overall_status"] = f"{start} {total['total_errors']} errors."
    return Response.of({key: total}, headers=said(missing, req))
