"""``cascade rebuild``: the index, the pairs and the ledger again, from the hub and the sites alone.

Possible because every pair is written at the site in the create itself (design review 7.5): descriptions of
projects, users and Neutron objects, tags of servers, properties of images. Lost for good: reservations of creates
that were in flight (their servers are found by tag), tombstones, remembered list positions.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import structlog

from cascade.model.errors import SiteError
from cascade.model.site import Site
from cascade.quota.amounts import block_amounts
from cascade.reconcile import imagedoc
from cascade.reconcile.building import north_of
from cascade.reconcile.net.replica import COMPANION, MEMBERS
from cascade.reconcile.pages import pages
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store
from cascade.store.index import IndexEntry
from cascade.store.pairs import Pair

log = structlog.get_logger(__name__)

AT_ONCE = 4
"""Sites asked beside each other: enough to keep one process busy."""
STAMP = "cascade:"
"""What stands in a description before the hub's id."""
_NEUTRON = {
    "networks": "network", "subnets": "subnet", "ports": "port", "routers": "router", "security-groups": "security_group",
    "security-group-rules": "security_group_rule", "floatingips": "floating_ip", "address-groups": "address_group",
    "trunks": "trunk", "qos/policies": "qos_policy",
}  # fmt: skip
_CINDER = {
    "volumes": "volume",
    "snapshots": "snapshot",
    "backups": "backup",
    "groups": "group",
    "group_snapshots": "group_snapshot",
}

_ALL = [("all_tenants", "1")]


@dataclass
class Found:
    """What one site gave."""

    pairs: int = 0
    things: int = 0
    foreign: int = 0
    """Rows of projects that are not ours: the site's own, left alone."""
    spare: list[str] = field(default_factory=list)
    """Second copies of what the hub has once, left alone: "image <site id>"."""
    projects: dict[str, str] = field(default_factory=dict)
    """site project id -> hub project id"""
    users: dict[str, str] = field(default_factory=dict)


class Rebuild:
    """Run with the gateway stopped or idle; may be repeated."""

    def __init__(self, store: Store, south: South, sites: Sites) -> None:
        self._store, self._south, self._sites = store, south, sites

    async def run(self) -> dict[str, Found]:
        """All enabled sites, ``AT_ONCE`` of them beside each other; a dead one is reported and can be done later."""
        out: dict[str, Found] = {}
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(name: str) -> None:
            async with gate:
                try:
                    out[name] = await self.site(self._sites.get(name))
                except SiteError as e:
                    log.error("site not rebuilt; run again when it answers", site=name, error=str(e))

        async with asyncio.TaskGroup() as group:
            for name in self._sites.names():
                group.create_task(one(name))
        return out

    async def site(self, site: Site) -> Found:
        """One site."""
        found = Found()
        await self._identity(site, found)
        await self._network(site, found)
        await self._images(site, found)
        await self._servers(site, found)
        await self._cinder(site, found)
        log.info("site rebuilt", site=site.name, pairs=found.pairs, things=found.things, foreign=found.foreign)
        return found

    async def _identity(self, site: Site, found: Found) -> None:
        if site.identity == "shared":
            return
        domain = site.options.get("domain", "cascade")
        domains = (await self._get(site, "identity", "/v3/domains", [("name", domain)])).get("domains", [])
        if not domains:
            return
        for path, kind, into in (("projects", "project", found.projects), ("users", "user", found.users)):
            rows = (await self._get(site, "identity", f"/v3/{path}", [("domain_id", domains[0]["id"])]))[path]
            for row in rows:
                into[row["id"]] = row["name"] if kind == "user" else _stamped(row) or row["name"]
            await self._pairs(found, [Pair(kind=kind, hub_id=into[r["id"]], site=site.name, site_id=r["id"]) for r in rows])

    async def _network(self, site: Site, found: Found) -> None:
        for path, kind in _NEUTRON.items():
            key = path.rsplit("/", 1)[-1].replace("-", "_")
            async for rows in pages(self._south, site.name, "network", f"/v2.0/{path}", key):
                pairs = []
                for row in rows:
                    if hub := _stamped(row):
                        owner = self._owner(site, row.get("project_id") or "", found)
                        of = MEMBERS.name if path == "address-groups" and hub.endswith(COMPANION) else kind
                        pairs.append(Pair(kind=of, hub_id=hub, site=site.name, site_id=row["id"], project_id=owner))
                await self._pairs(found, pairs)

    async def _images(self, site: Site, found: Found) -> None:
        path: str | None = "/v2/images?limit=200&visibility=all"
        copies: list[tuple[str, dict[str, Any]]] = []
        while path:
            doc = await self._get(site, "image", path, [])
            copies += [(hub, row) for row in doc["images"] if (hub := imagedoc.stamped(row)) is not None]
            path = doc.get("next")
        # Of several copies the complete one is meant, then the one that got the hub's id; who made the others is gone.
        copies.sort(key=lambda c: (c[1]["status"] != "active", c[0] != c[1]["id"], c[1]["created_at"]))
        await self._pairs(found, [Pair(kind="image", hub_id=hub, site=site.name, site_id=row["id"]) for hub, row in copies])

    async def _servers(self, site: Site, found: Found) -> None:
        async for rows in pages(self._south, site.name, "compute", "/servers/detail", "servers", params=_ALL, version="2.52"):
            await self._page_of_servers(site, rows, found)

    async def _page_of_servers(self, site: Site, rows: list[dict[str, Any]], found: Found) -> None:
        entries, held, pairs = [], [], []
        for row in rows:
            entry = self._entry(site, "server", row, found)
            if entry is None:
                continue
            if (north := north_of(row.get("tags", ()))) is not None:
                entry = replace(entry, id=north)
                pairs.append(Pair(kind="server", hub_id=north, site=site.name, site_id=row["id"], project_id=entry.project_id))
            entries.append(entry)
            flavor = row["flavor"]  # embedded since 2.47: the site's copy may be gone, the server's own facts are not
            size = {"instances": 1, "cores": int(flavor["vcpus"]), "ram": int(flavor["ram"])}
            held.append((entry.id, entry.project_id, entry.user_id, size))
        await self._pairs(found, pairs)
        await self._store.index.add_many(entries)
        await self._store.ledger.put_many(held)

    async def _cinder(self, site: Site, found: Found) -> None:
        for path, kind in _CINDER.items():
            async for rows in pages(self._south, site.name, "volume", f"/{path}/detail", path, params=_ALL, version="3.60"):
                there = [(entry, row) for row in rows if (entry := self._entry(site, kind, row, found)) is not None]
                await self._store.index.add_many([entry for entry, _ in there])
                counted = [(entry, amounts) for entry, row in there if (amounts := block_amounts(kind, row))]
                await self._store.ledger.put_many([(e.id, e.project_id, e.user_id, amounts) for e, amounts in counted])

    def _entry(self, site: Site, kind: str, row: dict[str, Any], found: Found) -> IndexEntry | None:
        owner = row.get("tenant_id") or row.get(f"os-vol-tenant-attr:{'tenant_id'}") or row.get("project_id")
        owner = owner or row.get("os-extended-snapshot-attributes:project_id") or row.get("os-backup-project-attr:project_id")
        project = self._owner(site, owner or "", found)
        if not project:
            found.foreign += 1
            return None
        found.things += 1
        user = row.get("user_id") or ""
        created = row.get("created") or row.get("created_at")
        when = (
            datetime.fromisoformat(created.replace("Z", "+00:00") if created.endswith("Z") else created + "+00:00")
            if created
            else None
        )
        return IndexEntry(
            kind=kind, id=row["id"], site=site.name, project_id=project, user_id=found.users.get(user, user),
            created=when.timestamp() if when else None, deleted=None,
        )  # fmt: skip

    @staticmethod
    def _owner(site: Site, project: str, found: Found) -> str | None:
        """The hub's id of a site's project; None where it is none of ours."""
        return (project or None) if site.identity == "shared" else found.projects.get(project)

    async def _get(self, site: Site, service: str, path: str, params: list[tuple[str, str]]) -> Any:
        path, _, query = path.partition("?")
        params = [*params, *(tuple(p.split("=", 1)) for p in query.split("&") if p)]  # type: ignore[list-item]
        return (await self._south.call(site.name, service, "GET", path, params=params, timeout=60)).expect(200).json()

    async def _pairs(self, found: Found, pairs: list[Pair]) -> None:
        """Remember them. What is known already stays: a second copy is left to the operator."""
        spare = await self._store.pairs.put_many(pairs) if pairs else []
        for pair in spare:
            log.warning("a second copy is left alone", site=pair.site, kind=pair.kind, hub_id=pair.hub_id, copy=pair.site_id)
        found.spare += [f"{pair.kind} {pair.site_id}" for pair in spare]
        found.pairs += len(pairs) - len(spare)


def _stamped(row: dict[str, Any]) -> str | None:
    text = row.get("description") or ""
    return text.removeprefix(STAMP).split()[0] if text.startswith(STAMP) else None
