"""A site comes and goes: the report before, what has to follow, and what would be left behind."""

from __future__ import annotations

from typing import Any

from cascade.api.core import Core
from cascade.api.zones import zone_sites
from cascade.model.caller import Caller
from cascade.model.site import Site
from cascade.reconcile.joining import Joining

ZONAL = ("server", "volume", "snapshot", "backup", "group", "group_snapshot")
"""What lives in a site and nowhere else. Replicas do not count: the hub has the original."""


async def report(core: Core, site: Site, caller: Caller, *, lower: bool) -> dict[str, Any]:
    """The joining report against the cloud as it is now, the site itself left out of it."""
    windows = {service: core.discovery.window(service) for service in ("compute", "volume")}
    others = {zone: name for zone, name in zone_sites(core).items() if name != site.name}
    return await Joining(core.south, core.sites).report(site, caller=caller, cloud_windows=windows, zones=others, lower=lower)


async def joined(core: Core, name: str) -> None:
    """After a site's row was written: known at once, what the hub has for every site follows in the background."""
    await core.sites.reload()
    await core.discovery.refresh(name)
    core.replicas.sweep(name)


async def left_at(core: Core, name: str) -> dict[str, int]:
    """Kind -> how many of it the index knows at a site, and intents that are open there."""
    found = {kind: await core.store.index.count(kind, site=name) for kind in ZONAL}
    found["open intent(s)"] = len(await core.store.intents.pending(site=name))
    return {kind: n for kind, n in found.items() if n}
