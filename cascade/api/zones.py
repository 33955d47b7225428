"""Availability zones north: each site's default zone under the site's name, its other zones under their own."""

from __future__ import annotations

import asyncio
from typing import Any

from cascade.api.core import Core
from cascade.api.forward import to_hub
from cascade.api.request import Request, Response
from cascade.model.errors import SiteError
from cascade.routing.bodies import north_zone


def zone_sites(core: Core, service: str = "compute") -> dict[str, str]:
    """north zone -> site, of every enabled site."""
    out: dict[str, str] = {}
    for name in core.sites.names():
        site = core.sites.get(name)
        for zone in core.discovery.zones(name, service):
            out.setdefault(north_zone(site, zone), name)
        out[site.name] = name  # a site's name always means the site, whatever another one calls its zones
    return out


async def _zones(core: Core, req: Request, key: str) -> Response:
    """Zones of all enabled sites; a dead one is shown as not available, never left out (promise 5)."""
    hub = await to_hub(core, req)
    if hub.status != 200:
        return hub  # policy: the hub's own verdict
    detail = req.path.endswith("/detail")

    async def ask(name: str) -> list[dict[str, Any]]:
        site = core.sites.get(name)
        try:
            if not core.sites.usable(name):
                raise SiteError(name, "down")
            # The hub has judged the caller. Zones are the same for everybody, and looking must not make him an account there.
            path = "/os-availability-zone/detail" if detail else "/os-availability-zone"
            reply = await core.south.call(name, req.service, "GET", path, version=req.version, timeout=core.conf.list_deadline)
            rows: list[dict[str, Any]] = reply.expect(200).json()["availabilityZoneInfo"]
        except SiteError:
            known = sorted({north_zone(site, z) for z in core.discovery.zones(name, req.service)} | {site.name})
            dead: dict[str, Any] = {"zoneState": {"available": False}}
            extra = {"hosts": None} if req.service == "compute" else {}
            return [{"zoneName": z, **dead, **extra} for z in known if z != "internal"]
        out = []
        for row in rows:
            if row["zoneName"] == "internal" and not detail:
                continue
            row["zoneName"] = north_zone(site, row["zoneName"])
            if row.get("hosts"):
                row["hosts"] = {f"{host}.{name}": what for host, what in row["hosts"].items()}
            if site.draining:
                row["zoneState"] = {"available": False}
            out.append(row)
        return out

    found = await asyncio.gather(*(ask(n) for n in core.sites.names()))
    merged: dict[str, dict[str, Any]] = {}
    for row in (r for rows in found for r in rows):
        seen = merged.setdefault(row["zoneName"], row)
        if seen is not row and row.get("hosts"):
            seen["hosts"] = {**(seen.get("hosts") or {}), **row["hosts"]}
    return Response.of({key: list(merged.values())}, headers={k: v for k, v in hub.headers.items() if k != "content-type"})


async def compute_zones(core: Core, req: Request) -> Response:
    """GET /os-availability-zone[/detail] of Nova."""
    return await _zones(core, req, "availabilityZoneInfo")


async def volume_zones(core: Core, req: Request) -> Response:
    """GET /os-availability-zone of Cinder."""
    return await _zones(core, req, "availabilityZoneInfo")
