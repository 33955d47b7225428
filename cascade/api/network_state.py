"""What only a site knows of the hub's network objects: status and binding of ports, status of floating IPs.

One southbound list per site that has copies of what is shown, under a short deadline; a site that does not answer
leaves the hub's own word (``DOWN``), and never fails the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import structlog

from cascade.api.core import Core
from cascade.model.errors import NativeFault, SiteError
from cascade.model.ids import north_host

log = structlog.get_logger(__name__)

DEADLINE = 2.0
"""Seconds all sites together may take."""
BATCH = 100
"""Ids per southbound list: what fits into a request line everywhere."""
BOUND = ("binding:host_id", "binding:vif_type", "binding:vif_details")
"""Shown to administrators only; taken from the site where the hub's row has them."""
STATE = {"port": ("status", *BOUND), "floating_ip": ("status",), "trunk": ("status",)}
"""Kind -> what its rows show of a site. Also what a list cannot be filtered by at the hub."""
_PATHS = {
    "port": ("/v2.0/ports", "ports"), "floating_ip": ("/v2.0/floatingips", "floatingips"), "trunk": ("/v2.0/trunks", "trunks"),
}  # fmt: skip
ROUTERS = ("network:router_interface", "network:router_gateway")
"""Owners of ports that need no hypervisor: where no site has the router yet, they work as soon as the hub has them, as OVN's do."""
_BEST = ("ACTIVE", "BUILD", "ERROR")
MADE = "cascade_made"


async def overlay_ports(core: Core, rows: list[dict[str, Any]]) -> None:
    """Run-time fields of port documents, in place."""
    found = await _state(core, "port", [r["id"] for r in rows if "id" in r])
    for row in rows:
        known = found.get(row.get("id", ""))
        if known is None and row.get("device_owner") in ROUTERS:
            known = {"status": "ACTIVE"}
        _overlay(row, known or {}, STATE["port"])
        profile = row.get("binding:profile")
        if isinstance(profile, dict):
            profile.pop(MADE, None)


async def overlay_trunks(core: Core, rows: list[dict[str, Any]]) -> None:
    """Status of trunks, in place."""
    found = await _state(core, "trunk", [r["id"] for r in rows if "id" in r])
    for row in rows:
        _overlay(row, found.get(row.get("id", ""), {}), STATE["trunk"])


async def overlay_floating(core: Core, rows: list[dict[str, Any]]) -> None:
    """Status of floating IPs and of the ports shown inside them, in place."""
    inside = {r["port_id"] for r in rows if r.get("port_id") and isinstance(r.get("port_details"), dict)}
    own = [r["id"] for r in rows if "id" in r]
    floating, ports = await asyncio.gather(_state(core, "floating_ip", own), _state(core, "port", inside))
    for row in rows:
        _overlay(row, floating.get(row.get("id", ""), {}), ("status",))
        if row.get("port_id") in ports and isinstance(row.get("port_details"), dict):
            _overlay(row["port_details"], ports[row["port_id"]], ("status",))


def _overlay(row: dict[str, Any], state: dict[str, Any], fields: Iterable[str]) -> None:
    for field in fields:
        if field in row and state.get(field) not in (None, ""):
            row[field] = state[field]


async def _state(core: Core, kind: str, ids: Iterable[str]) -> dict[str, dict[str, Any]]:
    """hub id -> its run-time fields. A router's port may stand in several sites: the best status is shown."""
    wanted: dict[str, dict[str, str]] = {}
    for pair in await core.store.pairs.copies(kind, list(ids)):
        if core.sites.usable(pair.site):
            wanted.setdefault(pair.site, {})[pair.site_id] = pair.hub_id
    batches = []
    for site, here in wanted.items():
        site_ids = sorted(here)
        batches += [(site, site_ids[at : at + BATCH]) for at in range(0, len(site_ids), BATCH)]
    answers = await asyncio.gather(*(_ask(core, site, kind, batch) for site, batch in batches))
    out: dict[str, dict[str, Any]] = {}
    for (site, _), rows in zip(batches, answers, strict=True):
        for row in rows:
            hub_id = wanted[site].get(row["id"])
            if hub_id is None:
                continue
            if row.get("binding:host_id"):
                row["binding:host_id"] = north_host(site, row["binding:host_id"])
            known = out.get(hub_id)
            if known is None or _rank(row) < _rank(known):
                out[hub_id] = row
    return out


async def _ask(core: Core, site: str, kind: str, ids: list[str]) -> list[dict[str, Any]]:
    path, key = _PATHS[kind]
    params = [("fields", f) for f in ("id", *STATE[kind])] + [("id", i) for i in ids]
    try:
        reply = await core.south.call(site, "network", "GET", path, params=params, timeout=DEADLINE)
        rows: list[dict[str, Any]] = reply.expect(200).json()[key]
    except (SiteError, NativeFault) as e:
        log.info("no run-time state", site=site, kind=kind, error=str(e))
        return []
    return rows


def _rank(row: dict[str, Any]) -> int:
    return _BEST.index(row["status"]) if row.get("status") in _BEST else len(_BEST)
