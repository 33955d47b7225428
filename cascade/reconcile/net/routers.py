"""Routers in sites: one wherever a network of theirs stands, each with the site's own external address."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field

import structlog

from cascade.model.errors import Fault
from cascade.reconcile.net import reach
from cascade.reconcile.net.bridges import Bridge, Bridges
from cascade.reconcile.net.networks import NetworkReplicas
from cascade.reconcile.net.replica import NETWORK, PORT, ROUTER, STAMP, SUBNET, Doc, Gone, Replicas, accepted, changes, stamped

log = structlog.get_logger(__name__)

INTERFACE, GATEWAY = "network:router_interface", "network:router_gateway"


@dataclass(frozen=True, slots=True)
class Plan:
    """What the hub's router is to be in every site, decided once for all of them."""

    router: Doc
    interfaces: list[Doc]
    """The hub's interface ports."""
    sites: frozenset[str]
    """Where it belongs: wherever it is, and wherever a network of its interfaces is."""
    subnets: list[reach.Subnet] = field(default_factory=list)
    ways: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """As ``reach.ways``: empty where every site has all of its networks."""
    bridge: Bridge | None = None
    leaving: frozenset[str] = frozenset()
    """Sites that have a copy of a router whose hints name another."""

    @property
    def stale(self) -> bool:
        """It needs a bridge, and the one there is has to go first."""
        return bool(self.ways) and self.bridge is None


class RouterReplicas:
    """Level-triggered: ``sync`` makes a site's router what the hub's is now, from whatever state."""

    def __init__(self, replicas: Replicas, networks: NetworkReplicas) -> None:
        self._r, self._networks, self.bridges = replicas, networks, Bridges(replicas, networks)

    async def interfaces(self, *params: tuple[str, str]) -> list[Doc]:
        """The hub's router interface ports that match."""
        return await self._r.hub_list(PORT, ("device_owner", INTERFACE), *params)

    async def of(self, router: Doc) -> list[Doc]:
        """The router's own: the owner of a network may write any router's id on a port of his, but not another's project."""
        return [p for p in await self.interfaces(("device_id", router["id"])) if p["project_id"] == router["project_id"]]

    async def plan(self, router: Doc) -> Plan:
        """Look at hub and pairs; a bridge that is needed is there when this returns."""
        interfaces = await self.of(router)
        networks = sorted({p["network_id"] for p in interfaces})
        at, *found = await asyncio.gather(self._r.sites_of(ROUTER, router["id"]), *(self._r.sites_of(NETWORK, n) for n in networks))
        where = {net: frozenset(sites) for net, sites in zip(networks, found, strict=True)}
        only = self._networks.stays(router)
        sites = frozenset(at).union(*where.values())
        if only is not None:
            here = frozenset([only]) if sites else sites
            if here - at.keys():
                await self._r.store.docs.put(_making(router["id"]), [only])
            return Plan(router, interfaces, here, leaving=frozenset(at) - here)
        if sites - at.keys():  # a copy whose answer is lost has no pair
            await self._r.store.docs.put(_making(router["id"]), sorted(sites))
        homes = {net: await self._networks.home({"id": net}) for net in networks}
        ways = reach.ways(where, homes, self._networks.joined)
        if not ways:
            return Plan(router, interfaces, sites)
        rows = await self._r.hub_by_ids(SUBNET, (f["subnet_id"] for p in interfaces for f in p["fixed_ips"]))
        subnets = [reach.Subnet(r["network_id"], r["cidr"]) for r in rows.values()]
        taken = [s.cidr for s in subnets] + [r["destination"] for r in router.get("routes") or ()]
        taken = [cidr for cidr in taken if not cidr.endswith("/0")]
        bridge = await self.bridges.ensure(router["id"], taken, {s.version for s in subnets}, reach.met(ways))
        return Plan(router, interfaces, sites, subnets, ways, bridge)

    async def sync(self, site: str, plan: Plan) -> None:
        """The router with its interfaces, gateway and routes."""
        router, bridge = plan.router, plan.bridge
        inside = list(plan.interfaces)
        if bridge is not None and site in bridge.ports:
            await self._networks.ensure(site, bridge.net, bridge.subnets, routed=set(), consumer=None)
            inside += bridge.ports[site]
        if self._networks.stays(router):
            await self._networks.bring(site, sorted({p["network_id"] for p in inside}))
        # Interfaces of two syncs of one router at a time would each be made twice, and a Neutron given the same one twice at
        # once was seen to hang. Leases of copies are taken below this one, and nobody who holds one of theirs asks for it.
        async with self._r.alone(site, "router-sync", router["id"]):
            site_id, row = await self._router(site, router)
            sure, other = self._routes(site, plan)
            # An interface does not go before the routes that lead over it, and comes before them.
            await self._route(site, router, row, [r for r in _plain(row) if r in [*sure, *other]])
            await self._interfaces(site, router, site_id, inside)
            row = await self._outside(site, router, site_id)
            await self._route(site, router, row, sure, other)

    async def lost(self, router: str) -> None:
        """The hub's router is gone: copies that were made and never paired are known again, to go with the others."""
        await self._r.recover(ROUTER, router, await self._r.store.docs.get(_making(router)) or [])
        await self._r.store.docs.drop(_making(router))

    async def drop(self, site: str, hub_id: str, site_id: str) -> None:
        """The hub's router is gone: interfaces, gateway and routes first, as Neutron wants it."""
        row = await self._r.show(site, ROUTER, site_id)
        if row is not None:
            if row.get("routes") or row.get("external_gateway_info"):
                await self._put(site, site_id, {"routes": [], "external_gateway_info": {}})
            await self._interfaces(site, {"id": hub_id}, site_id, [])
            for port in await self._r.site_list(site, PORT, ("device_id", site_id), ("device_owner", INTERFACE)):
                await self._unplug(site, site_id, port)
        await self._r.delete(site, ROUTER, hub_id, site_id)

    async def _router(self, site: str, router: Doc) -> tuple[str, Doc]:
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
        return site_id, row

    # -- inside ------------------------------------------------------------------------------------------------------

    async def _interfaces(self, site: str, router: Doc, site_id: str, interfaces: list[Doc]) -> None:
        """One per hub port whose network stands here; others of ours go first, for their subnet may come again."""
        have = {stamped(p): p for p in await self._r.site_list(site, PORT, ("device_id", site_id), ("device_owner", INTERFACE))}
        pinned = self._networks.stays(router) == site  # before it was, it may have had a reserved address here
        wanted = {}
        for port in interfaces:
            network = await self._r.site_id(site, NETWORK, port["network_id"])
            if network is not None:
                wanted[port["id"]] = (port, network)
        for hub_id, row in list(have.items()):
            if hub_id is not None and (hub_id not in wanted or (pinned and _addresses(row) != _addresses(wanted[hub_id][0]))):
                await self._unplug(site, site_id, row)
                await self._r.store.pairs.drop(PORT.name, hub_id, site)
                del have[hub_id]
        # A port that was made and never plugged is on no list of the router's, and holds the address of its successor.
        docs, key = self._r.store.docs, f"router.plugging/{site}/{router['id']}"
        begun = await docs.get(key) or []
        for hub_id in [b for b in begun if b not in wanted]:
            half = await self._r.find(site, PORT, hub_id)
            if half is not None:
                await self._r.delete(site, PORT, hub_id, half["id"])
        missing = [hub_id for hub_id in wanted if hub_id not in have]
        if missing:
            await docs.put(key, missing)
        for hub_id in missing:
            await self._plug(site, router, site_id, *wanted[hub_id])
        if begun or missing:
            await docs.drop(key)

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
        if any([await self._networks.automatic(site, s) for s in await self._r.hub_list(SUBNET, ("network_id", net["id"]))]):
            await self._plug_subnets(site, router, site_id, port, fixed)
            return
        project = await self._r.south.shadow.project(site, router["project_id"])

        async def make() -> Doc:
            return {"network_id": network, "name": port["name"], "fixed_ips": fixed, "security_groups": []}

        made, _ = await self._r.ensure(site, PORT, port["id"], owner=router["project_id"], project=project, make=make)
        reply = await self._r.call(site, "PUT", f"{ROUTER.path}/{site_id}/add_router_interface", {"port_id": made})
        if reply.status == 404 and await self._r.show(site, PORT, made) is None:
            await self._r.store.pairs.drop(PORT.name, port["id"], site)
        accepted(site, "router", reply)

    async def _plug_subnets(self, site: str, router: Doc, site_id: str, port: Doc, fixed: list[Doc]) -> None:
        """By subnet, where the network has one whose addresses follow from MACs: a port that is made first is given an address
        of that subnet too, and refused the one it needs. Neutron's own port has the subnet's gateway address and no other; its
        stamp comes after it, so that of an interrupted try is looked for."""
        have = await self._r.site_list(site, PORT, ("device_id", site_id), ("device_owner", INTERFACE))
        of = {f["subnet_id"]: p["id"] for p in have for f in p["fixed_ips"]}
        for at in fixed:
            if at["subnet_id"] in of:
                continue
            body = {"subnet_id": at["subnet_id"]}
            reply = await self._r.call(site, "PUT", f"{ROUTER.path}/{site_id}/add_router_interface", body)
            of[at["subnet_id"]] = accepted(site, "router", reply).json()["port_id"]
        made = of[fixed[0]["subnet_id"]]
        mark = {"name": port["name"], "description": STAMP + port["id"]}
        accepted(site, PORT.name, await self._r.call(site, "PUT", f"{PORT.path}/{made}", {PORT.key: mark}))
        await self._r.pair(site, PORT, port["id"], made, router["project_id"])

    async def _unplug(self, site: str, site_id: str, port: Doc) -> None:
        reply = await self._r.call(site, "PUT", f"{ROUTER.path}/{site_id}/remove_router_interface", {"port_id": port["id"]})
        accepted(site, "router", reply, 404)

    # -- outside -----------------------------------------------------------------------------------------------------

    async def _outside(self, site: str, router: Doc, site_id: str) -> Doc:
        """The gateway; returns the router as it is then. The address outside is the site's own: hub and sites hand out
        disjoint ranges."""
        row = await self._r.show(site, ROUTER, site_id)
        if row is None:
            raise Gone(f"router {router['id']} is not at {site} any more")
        wanted = await self._gateway(site, router)
        have = row.get("external_gateway_info") or {}
        if {k: have.get(k) for k in wanted} != wanted or (have and not wanted):
            await self._put(site, site_id, {"external_gateway_info": wanted})
        await self._pair_gateway(site, router, site_id)
        return row

    # -- routes ------------------------------------------------------------------------------------------------------

    @staticmethod
    def _routes(site: str, plan: Plan) -> tuple[list[reach.Route], list[reach.Route]]:
        own, hops = plan.router.get("routes") or [], plan.bridge.hops() if plan.bridge else {}
        return reach.routes(own, plan.subnets, plan.ways.get(site, {}), hops) if plan.ways else ([], _plain(plan.router))

    async def _route(
        self, site: str, router: Doc, row: Doc, sure: list[reach.Route], other: list[reach.Route] | None = None
    ) -> None:
        """Static routes. Of the ``other`` none is set where the site does not take them all: their next hop is perhaps known at
        another site alone. What it must take and does not, more than its ``max_routes`` allow, is an operator's to see."""
        for wanted in ([*sure, *(other or ())], sure):
            if not changes(row, {"routes": wanted}):
                return
            reply = await self._r.call(site, "PUT", f"{ROUTER.path}/{row['id']}", {"router": {"routes": wanted}})
            if reply.status != 400:
                accepted(site, "router", reply)
                return
            log.info("routes not taken", site=site, router=router["id"], answer=reply.body[:300].decode(errors="replace"))
            if not other:
                break
        if sure:
            log.error("static routes of a router are missing", site=site, router=router["id"], routes=len(sure))

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


def _making(router: str) -> str:
    return f"router.making/{router}"


def _addresses(port: Doc) -> set[str]:
    return {f["ip_address"] for f in port["fixed_ips"]}


def _plain(router: Doc) -> list[reach.Route]:
    """Its static routes, as they are written."""
    return [{"destination": r["destination"], "nexthop": r["nexthop"]} for r in router.get("routes") or ()]
