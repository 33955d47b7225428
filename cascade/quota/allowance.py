"""What a project may use at a site itself: nothing less than the hub grants.

The ledger counts what is counted over sites, so there the site's own limits are lifted; what no ledger counts (metadata items
of one server, members of a group, the size of one volume) the site enforces in its own words, by the hub's numbers.
"""

from __future__ import annotations

from typing import Any

import structlog

from cascade.quota.limits import Limits
from cascade.sites.south import South
from cascade.store import Store

log = structlog.get_logger(__name__)

LIFTED = {
    "compute": ("instances", "cores", "ram", "key_pairs", "server_groups"),
    "volume": ("volumes", "snapshots", "gigabytes", "backups", "backup_gigabytes", "groups"),
}
PASSED_ON = {
    "compute": (
        "metadata_items", "injected_files", "injected_file_content_bytes", "injected_file_path_bytes", "server_group_members",
    ),
    "volume": ("per_volume_gigabytes",),
}  # fmt: skip


class Allowances:
    """A site's quota set of a project is written when it would differ from what was written last. Tokens: the service's."""

    def __init__(self, store: Store, south: South, limits: Limits) -> None:
        self._store, self._south, self._limits = store, south, limits
        self._written: dict[str, dict[str, int]] = {}

    async def ensure(self, site: str, service: str, project: str) -> None:
        """Before something is made there. A site that lets us not write keeps its own limits. Raises SiteError."""
        hub = await self._limits.whole(service, project)
        wanted = dict.fromkeys(LIFTED[service], -1) | {k: hub[k] for k in PASSED_ON[service] if k in hub}
        key = f"allowance/{service}/{site}/{project}"
        if self._written.get(key) == wanted:
            return
        if await self._store.docs.get(key) != wanted:
            there = await self._south.shadow.project(site, project)
            body: dict[str, Any] = {**wanted, "force": True} if service == "compute" else wanted
            reply = await self._south.call(site, service, "PUT", f"/os-quota-sets/{there}", json={"quota_set": body})
            if not reply.ok:
                log.warning("the site keeps its own limits", site=site, service=service, status=reply.status)
            await self._store.docs.put(key, wanted)
        if len(self._written) > 10_000:
            self._written.clear()
        self._written[key] = wanted

    async def follow(self, service: str, project: str) -> None:
        """After a write to the hub's quota set: every site where the project is."""
        for site in await self._store.index.sites_of(None, project):
            await self.ensure(site, service, project)
