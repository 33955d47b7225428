"""Routers in sites: one wherever a network of theirs stands, each with the site's own external address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from cascade.model.errors import Fault
from cascade.reconcile.net.networks import NetworkReplicas
from cascade.reconcile.net.replica import NETWORK, PORT, ROUTER, SUBNET, Doc, Replicas, accepted, changes, stamped

log = structlog.get_logger(__name__)

INTERFACE, GATEWAY = "network:router_interface", "network:router_gateway"


class RouterReplicas:
    """Level-triggered: ``sync`` makes a site's router what the hub's is now, from whatever state."""

    def __init__(self, replicas: Replicas, networks: NetworkReplicas) -> None:
        self._r, self._networks = replicas, networks

    async def interfaces(self, *params: tuple[str, str]) -> list[Doc]:
        """The hub's router interface ports that match."""
        return await self._r.hub_list(PORT, ("device_owner", INTERFACE), *params)

    async def of(self, router: Doc) -> list[Doc]:
        """The router's own: the owner of a network may write any router's id on a port of his, but not another's project."""
        return [p for p in await self.interfaces(("device_id", router["id"])) if p["project_id"] == router["project_id"]]

    async def sites(self, router: str, interfaces: list[Doc]) -> set[str]:
        """Where the router belongs: wherever it is, and wherever a network of its interfaces is."""
        found = await asyncio.gather(
            self._r.sites_of(ROUTER, router), *(self._r.sites_of(NETWORK, n) for n in {p["network_id"] for p in interfaces})
        )
        return {site for rows in found for site in rows}

    async def sync(self, site: str, router: Doc, interfaces: list[Doc]) -> str:
        """The router with its interfaces and gateway; returns the site's id."""
        # Interfaces of two syncs of one router at a time would each be made twice, and a Neutron given the same one twice at
        # once was seen to hang. Leases of copies are taken below this one, and nobody who holds one of theirs asks for it.
        async with self._r.alone(site, "router-sync", router["id"]):
            site_id = await self._router(site, router)
            await self._interfaces(site, router, site_id, interfaces)
            await self._outside(site, router, site_id)
            return site_id

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """The hub's router is gone: interfaces, gateway and routes first, as Neutron wants it."""
        row = await self._r.show(site, ROUTER, site_id)
        if row is not None:
            if row.get("routes") or row.get("external_gateway_info"):
                await self._put(site, site_id, {"routes": [], "external_gateway_info": {}})
            for port in await self._r.site_list(site, PORT, ("device_id", site_id), ("device_owner", INTERFACE)):
                await self._unplug(site, site_id, port)
        await self._r.delete(site, ROUTER, hub_id, site_id)

    async def _router(self, site: str, router: Doc) -> str:
        project = await self._r.south.shadow.project(site, router["project_id"])
        want = {"name": router["name"], "admin_state_up": router["admin_state_up"]}

        async def make() -> Doc:
            return want

        site_id, row = await self._r.ensure(site, ROUTER, router["id"], owner=router["project_id"], project=project, make=make)
        row = row or await self._r.show(site, ROUTER, site_id)
        if row is None:
            await self._r.store.pairs.drop(ROUTER.name, router["id"], site)
            return await self._router(site, router)
        await self._r.update(site, ROUTER, row, want)
        return site_id

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _interfaces(self, site: str, router: Doc, site_id: str, interfaces: list[Doc]) -> None:
        """One per hub interface whose network stands here; others of ours go."""
        have = {stamped(p): p for p in await self._r.site_list(site, PORT, ("device_id", site_id), ("device_owner", INTERFACE))}
        for port in interfaces:
            network = await self._r.site_id(site, NETWORK, port["network_id"])
            if network is None:
                continue
            if have.pop(port["id"], None) is None:
                await self._plug(site, router, site_id, port, network)
        for hub_id, row in have.items():
            if hub_id is not None:
                await self._unplug(site, site_id, row)
                await self._r.store.pairs.drop(PORT.name, hub_id, site)

    async def _plug(self, site: str, router: Doc, site_id: str, port: Doc, network: str) -> None:
        net, *subnets = await asyncio.gather(
            self._r.hub(NETWORK, port["network_id"]), *(self._r.hub(SUBNET, f["subnet_id"]) for f in port["fixed_ips"])
        )
        if net is None:
            return
        fixed = []
        for subnet, at in zip(subnets, port["fixed_ips"], strict=True):
            if subnet is None:
                continue
            # Made before it had a router, the subnet tells guests an address that is not answered here: put right first.
            await self._networks.sync_subnet(site, net, subnet, network, routed=True)
            here = await self._r.site_id(site, SUBNET, subnet["id"])
            if here is not None:
                fixed.append({"subnet_id": here, "ip_address": await self._networks.address(site, net, subnet, at["ip_address"])})
        if not fixed:
            return
        project = await self._r.south.shadow.project(site, router["project_id"])

        async def make() -> Doc:
            return {"network_id": network, "name": port["name"], "fixed_ips": fixed, "security_groups": []}

        made, _ = await self._r.ensure(site, PORT, port["id"], owner=router["project_id"], project=project, make=make)
        reply = await self._r.call(site, "PUT", f"{ROUTER.path}/{site_id}/add_router_interface", {"port_id": made})
        if reply.status == 404 and await self._r.show(site, PORT, made) is None:
            await self._r.store.pairs.drop(PORT.name, port["id"], site)
        accepted(site, "router", reply)

    async def _unplug(self, site: str, site_id: str, port: Doc) -> None:
        reply = await self._r.call(site, "PUT", f"{ROUTER.path}/{site_id}/remove_router_interface", {"port_id": port["id"]})
        accepted(site, "router", reply, 404)

    # -- outside -----------------------------------------------------------------------------------------------------

    async def _outside(self, site: str, router: Doc, site_id: str) -> None:
        """Gateway and static routes. The address outside is the site's own: hub and sites hand out disjoint ranges."""
        row = await self._r.show(site, ROUTER, site_id) or {}
        wanted = await self._gateway(site, router)
        have = row.get("external_gateway_info") or {}
        if {k: have.get(k) for k in wanted} != wanted or (have and not wanted):
            await self._put(site, site_id, {"external_gateway_info": wanted})
        routes = router.get("routes") or []
        if changes(row, {"routes": routes}):
            reply = await self._r.call(site, "PUT", f"{ROUTER.path}/{site_id}", {"router": {"routes": routes}})
            if reply.status == 400:  # a next hop that only another site's router can reach
                log.info("routes not taken", site=site, router=router["id"], answer=reply.body[:300].decode(errors="replace"))
            else:
                accepted(site, "router", reply)
        await self._pair_gateway(site, router, site_id)

    async def _gateway(self, site: str, router: Doc) -> Doc:
        info: Mapping[str, object] = router.get("external_gateway_info") or {}
        if not info:
            return {}
        net = await self._r.hub(NETWORK, str(info["network_id"]))
        if net is None:
            return {}
        try:
            wanted: Doc = {"network_id": await self._networks.external(site, net)}
        except Fault as e:
            log.warning("router stays without a way out", site=site, router=router["id"], error=e.message)
            return {}
        return wanted | ({"enable_snat": info["enable_snat"]} if "enable_snat" in info else {})

    async def _pair_gateway(self, site: str, router: Doc, site_id: str) -> None:
        """So that the hub's gateway port shows this one's status."""
        if not router.get("external_gateway_info"):
            return
        outside = ("network_id", router["external_gateway_info"]["network_id"])  # elsewhere anybody can call a port so
        hub = await self._r.hub_list(PORT, ("device_id", router["id"]), ("device_owner", GATEWAY), outside)
        here = await self._r.site_list(site, PORT, ("device_id", site_id), ("device_owner", GATEWAY))
        if hub and here:
            await self._r.pair(site, PORT, hub[0]["id"], here[0]["id"], router["project_id"])

    async def _put(self, site: str, site_id: str, body: Doc) -> None:
        accepted(site, "router", await self._r.call(site, "PUT", f"{ROUTER.path}/{site_id}", {"router": body}))
