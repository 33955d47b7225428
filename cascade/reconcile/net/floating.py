"""Floating IPs in sites: one stands only where the port it points at has its copy, with the hub's address."""

from __future__ import annotations

from cascade.reconcile.net.networks import NetworkReplicas
from cascade.reconcile.net.replica import FLOATING, NETWORK, Doc, Replicas


class FloatingReplicas:
    """Hub and sites hand out disjoint ranges, so the hub's address is free in every site (design review 2.12)."""

    def __init__(self, replicas: Replicas, networks: NetworkReplicas) -> None:
        self._r, self._networks = replicas, networks

    async def sync(self, site: str, floating: Doc, port: str) -> None:
        """It is in the site and points at ``port`` (the site's id), whose router is there already."""
        net = await self._r.hub(NETWORK, floating["floating_network_id"])
        if net is None:
            return
        external = await self._networks.external(site, net)
        project = await self._r.south.shadow.project(site, floating["project_id"])
        target = {"port_id": port, "fixed_ip_address": floating["fixed_ip_address"]}

        async def make() -> Doc:
            return {
                **target, "floating_network_id": external,
                "floating_ip_address": floating["floating_ip_address"],
            }  # fmt: skip

        site_id, row = await self._r.ensure(
            site, FLOATING, floating["id"], owner=floating["project_id"], project=project, make=make
        )
        row = row or await self._r.show(site, FLOATING, site_id)
        if row is None:
            await self._r.store.pairs.drop(FLOATING.name, floating["id"], site)
            await self.sync(site, floating, port)
            return
        if row["port_id"] != port or row["fixed_ip_address"] != floating["fixed_ip_address"]:
            await self._r.update(site, FLOATING, row, target)

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """Not pointing at anything here any more, or gone at the hub."""
        await self._r.delete(site, FLOATING, hub_id, site_id)
