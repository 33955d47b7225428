"""A VLAN in the way: a copy of a network the hub no longer has still holds the segment that the hub has given away again.

It is left where Cascade's database was lost between a delete at the hub and its arrival at the site. Only what carries
our stamp and is gone from the hub (asked now, by id) is taken away; the site's own networks are never touched.
"""

from __future__ import annotations

import structlog

from cascade.reconcile.net.replica import NETWORK, PORT, ROUTER, Doc, Replicas, accepted, stamped

log = structlog.get_logger(__name__)


async def evict(replicas: Replicas, site: str, physnet: str, segment: int) -> bool:
    """Whether the segment is free now. Raises Refused while something that is not ours uses the orphan."""
    freed = False
    wanted = (("provider:physical_network", physnet), ("provider:segmentation_id", str(segment)))
    for row in await replicas.site_list(site, NETWORK, *wanted):
        hub_id = stamped(row)
        if hub_id is None or row.get("provider:segmentation_id") != segment or await replicas.hub(NETWORK, hub_id) is not None:
            continue
        for port in await replicas.site_list(site, PORT, ("network_id", row["id"])):
            await _port(replicas, site, port)
        log.warning("copy of a network the hub has not is removed", site=site, network=hub_id)
        await replicas.delete(site, NETWORK, hub_id, row["id"])
        freed = True
    return freed


async def _port(replicas: Replicas, site: str, port: Doc) -> None:
    """Interfaces of our routers and copies of hub ports that are gone; anything else keeps the network, which is then refused."""
    if port.get("device_owner", "").startswith("network:router_interface"):
        router = await replicas.show(site, ROUTER, port["device_id"])
        if router is not None and stamped(router) is not None:
            path = f"{ROUTER.path}/{router['id']}/remove_router_interface"
            accepted(site, "router interface", await replicas.call(site, "PUT", path, {"port_id": port["id"]}), 404)
        return
    hub_id = stamped(port)
    if hub_id is not None and await replicas.hub(PORT, hub_id) is None:
        await replicas.delete(site, PORT, hub_id, port["id"])
