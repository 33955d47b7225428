"""Neutron in sites: what a boot needs now (``materialise_port``), and what a change at the hub means (``sync``).

The hub's Neutron alone judges and allocates. Copies follow it, level-triggered: a key says which hub object to look
at, never what happened to it. Changes made through us are dirty marks (intents) until every copy has followed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Any

import structlog

from cascade.model.caller import Caller
from cascade.model.errors import Fault, SiteError
from cascade.model.site import HUB
from cascade.reconcile.net.floating import FloatingReplicas, leads_to
from cascade.reconcile.net.following import Following, Key
from cascade.reconcile.net.groups import Groups
from cascade.reconcile.net.networks import NetworkReplicas
from cascade.reconcile.net.ports import PortReplicas
from cascade.reconcile.net.qos import QosPolicies
from cascade.reconcile.net.replica import (
    ADDRESS_GROUP,
    COMPANION,
    FLOATING,
    GROUP,
    MEMBERS,
    NETWORK,
    PORT,
    QOS,
    ROUTER,
    RULE,
    SUBNET,
    TRUNK,
    Doc,
    Gone,
    Refused,
    Replicas,
)
from cascade.reconcile.net.routers import Plan, RouterReplicas
from cascade.reconcile.net.sharing import SHARING, Sharing
from cascade.reconcile.net.trunks import Trunks
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store

log = structlog.get_logger(__name__)

EXTENSIONS_FOR = 300.0
"""Seconds a site's list of Neutron extensions is believed."""


class Networks(Following):
    """Everything of Neutron south of the hub. ``run`` works off the queue; without it only direct calls act."""

    def __init__(self, store: Store, south: South, sites: Sites) -> None:
        super().__init__(store, sites, Replicas(store, south))
        self._south = south
        self._r.made = self._look_again
        self._groups = Groups(self._r, self._site_extensions)
        self._networks = NetworkReplicas(self._r, sites)
        self._ports = PortReplicas(self._r)
        self._routers = RouterReplicas(self._r, self._networks)
        self._floating = FloatingReplicas(self._r, self._networks)
        self._qos = QosPolicies(self._r)
        self._trunks = Trunks(self._r, self._stand, self._leave)
        self._sharing = Sharing(self._r)
        self._extensions: dict[str, tuple[float, frozenset[str]]] = {}
        self._syncs = {
            NETWORK.name: self._sync_network, SUBNET.name: self._sync_subnet, PORT.name: self._sync_port,
            GROUP.name: self._sync_group, MEMBERS.name: self._sync_members, ADDRESS_GROUP.name: self._sync_addresses,
            ROUTER.name: self._sync_router, FLOATING.name: self._sync_floating, QOS.name: self._sync_qos,
            TRUNK.name: self._sync_trunk, SHARING: self._sync_sharing,
        }  # fmt: skip

    # -- a server's port ---------------------------------------------------------------------------------------------

    async def materialise_port(self, site: str, port: dict[str, Any], caller: Caller) -> str:
        """The site's port for a hub port, with network, subnets and groups; returns its id there.

        What is needed comes before what needs it, and no lease is held while another is taken. Everything is written by the
        site's service account, so the ``caller``'s rights must have been judged by the hub before; all but the one that Nova
        judges, to be on an external network. Raises Fault 403 where he has not, 409 where the site cannot have it, SiteError
        where the site or the hub does not answer.
        """
        made = await self._stand(site, port, outside=caller.is_admin)
        if trunk := port.get("trunk_details"):
            await self._trunks.ensure(site, trunk["trunk_id"])
        return made

    async def _stand(self, site: str, port: Doc, *, outside: bool = True) -> str:
        """The copy in this site, and in no other: a port's owner can take it from a server that still runs with it."""
        for other, copy in (await self._r.sites_of(PORT, port["id"])).items():
            if other == site:
                continue
            if await self._used(other, copy):
                raise Fault(409, f"Port {port['id']} is still in use.")
            await self._leave(other, port["id"])
        members = await self._groups.members.concerned(port.get("security_groups") or (), {site})
        async with self.change(*((MEMBERS.name, m) for m in members)):
            try:
                made = await self._materialise(site, port, outside=outside)
            except Gone as e:
                log.warning("made again", site=site, port=port["id"], error=str(e))
                made = await self._materialise(site, port, outside=outside)
        now = await self._r.hub(PORT, port["id"])
        if now is None or now["revision_number"] != port["revision_number"]:
            await self.sync(PORT.name, port["id"])  # changed before anybody knew that a copy had to follow
        return made

    async def at_work(self, hub_port: str) -> bool:
        """Whether a server has this port in any site. Raises SiteError where one that has a copy does not answer."""
        copies = await self._r.sites_of(PORT, hub_port)
        return any(await asyncio.gather(*(self._used(site, copy) for site, copy in copies.items())))

    async def _used(self, site: str, copy: str) -> bool:
        row = await self._r.show(site, PORT, copy)
        return row is not None and bool(row.get("device_id"))

    async def _materialise(self, site: str, port: Doc, *, outside: bool) -> str:
        net_id = port["network_id"]
        net, subnets, interfaces, extensions, groups = await asyncio.gather(
            self._r.hub(NETWORK, net_id), self._r.hub_list(SUBNET, ("network_id", net_id)),
            self._routers.interfaces(("network_id", net_id)), self._site_extensions(site),
            self._groups.ensure(site, port.get("security_groups") or ()),
        )  # fmt: skip
        if net is None:
            raise Fault(404, f"Network {net_id} could not be found.")
        if net.get("router:external") and not net.get("shared") and not outside:
            raise Fault(403, f"It is not allowed to create an interface on external network {net_id}")
        routed = {f["subnet_id"] for p in interfaces for f in p["fixed_ips"]}
        net, port = await self._qos.localised(site, extensions, net, port)
        placed = await self._networks.ensure(site, net, subnets, routed=routed, consumer=port["project_id"])
        if not {f["subnet_id"] for f in port["fixed_ips"]} <= placed.subnets.keys():
            raise Fault(409, f"External network {net_id} has other subnets in availability zone {site}.")
        try:
            made = await self._ports.ensure(site, port, placed, groups, extensions)
        except Refused as e:
            if e.reply.status != 404:
                raise
            await self._networks.forget_gone(site, net_id, placed.subnets)
            raise Gone(f"something port {port['id']} needs is not at {site} any more") from e
        for router in {p["device_id"] for p in interfaces}:
            self.queue.add((ROUTER.name, router))
            for floating in await self._r.hub_list(FLOATING, ("router_id", router)):
                if leads_to(floating, port["id"]):
                    self.queue.add((FLOATING.name, floating["id"]))
        return made

    async def drop_port(self, hub_port: str, site: str, groups: Iterable[str] = ()) -> set[str]:
        """Its server's ``site`` has no copy of this port any more; others stop admitting it as a member of its ``groups``.

        Returns the other sites that have one and do not answer. Raises SiteError while ``site`` does not.
        """
        copies = await self._r.sites_of(PORT, hub_port)
        if not copies and (port := await self._r.hub(PORT, hub_port)) is not None:
            # A crash between the site's create and the pair leaves only the stamp: look, where its network stands there.
            there = await self._r.site_id(site, NETWORK, port["network_id"]) is not None
            if there and (row := await self._r.find(site, PORT, hub_port)) is not None:
                copies[site] = row["id"]
        left = {other for other in copies if other != site and not self._sites.usable(other)}
        members = await self._groups.members.concerned(groups, copies)
        async with self.change(*((MEMBERS.name, m) for m in members)):
            for other in copies.keys() - left:
                try:
                    await self._drop_copy(other, hub_port, copies[other])
                except SiteError:
                    if other == site:
                        raise
                    left.add(other)
        return left

    async def _drop_copy(self, site: str, hub_port: str, copy: str) -> None:
        try:
            await self._ports.drop(site, hub_port, copy)
        except Refused as e:
            if e.reply.status != 409:
                raise
            if not await self._trunks.part(site, copy, lambda: self._ports.drop(site, hub_port, copy)):
                await self._ports.drop(site, hub_port, copy)  # another has just parted them, or it is no trunk that holds it

    async def _leave(self, site: str, hub_port: str) -> None:
        """One site's copy goes; the port itself may live on."""
        copy = await self._r.site_id(site, PORT, hub_port)
        port = await self._r.hub(PORT, hub_port)
        members = await self._groups.members.concerned(port["security_groups"], {site}) if port else []
        async with self.change(*((MEMBERS.name, m) for m in members)):
            if copy is not None:
                await self._drop_copy(site, hub_port, copy)

    async def claim_port(self, port: dict[str, Any], device: str) -> dict[str, Any]:
        """The hub port with ``device`` as its device id, if nobody was faster (R2.6). Raises Fault 409, as Nova does."""
        reply = await self._south.call(
            HUB, "network", "PUT", f"{PORT.path}/{port['id']}", json={"port": {"device_id": device}},
            headers={"If-Match": f"revision_number={port['revision_number']}"},
        )  # fmt: skip
        if reply.status == 412:
            raise Fault(409, f"Port {port['id']} is still in use.")
        if reply.status == 404:
            raise Fault(404, f"Port id {port['id']} could not be found.")
        claimed: dict[str, Any] = reply.expect(200).json()["port"]
        return claimed

    # -- changes at the hub ------------------------------------------------------------------------------------------

    async def _touched(self, kind: str, hub_id: str) -> list[Key]:
        """A port that goes or changes its groups leaves those it is in now."""
        copies = await self._r.sites_of(PORT, hub_id) if kind == PORT.name else {}
        port = await self._r.hub(PORT, hub_id) if copies else None
        return [(MEMBERS.name, m) for m in await self._groups.members.concerned(port["security_groups"], copies)] if port else []

    async def _sync_network(self, hub_id: str) -> None:
        found = await self._r.hub(NETWORK, hub_id)
        if found is None:
            await self._follow(NETWORK, hub_id, None, self._drop_network)
            await self._networks.forget_home(hub_id)
            return
        subnets, interfaces = await asyncio.gather(
            self._r.hub_list(SUBNET, ("network_id", hub_id)), self._routers.interfaces(("network_id", hub_id))
        )
        routed = {f["subnet_id"] for p in interfaces for f in p["fixed_ips"]}

        async def sync(site: str, copy: str) -> bool:
            (net,) = await self._qos.localised(site, await self._site_extensions(site), found)
            return await self._networks.sync(site, net, subnets, copy, routed=routed)

        await self._follow(NETWORK, hub_id, sync, self._drop_network)

    async def _drop_network(self, site: str, hub_id: str, site_id: str) -> None:
        """Nothing of ours may be left in it: what is, is a leftover, since the hub's network had nothing in it."""
        row = await self._r.show(site, NETWORK, site_id)
        if row is not None and row.get("router:external"):
            await self._store.pairs.drop(NETWORK.name, hub_id, site)  # the site's own, only paired
            return
        for subnet in row.get("subnets", ()) if row else ():
            pair = await self._store.pairs.by_site_id(site, subnet)
            if pair is not None and pair.kind == SUBNET.name:
                await self._store.pairs.drop(SUBNET.name, pair.hub_id, site)
                await self._networks.forget_announcer(pair.hub_id)
        await self._r.delete(site, NETWORK, hub_id, site_id)

    async def _sync_subnet(self, hub_id: str) -> None:
        subnet = await self._r.hub(SUBNET, hub_id)
        if subnet is None:
            await self._follow(SUBNET, hub_id, None, self._networks.drop_subnet)
            await self._networks.forget_announcer(hub_id)
        else:
            await self._sync_network(subnet["network_id"])

    async def _sync_port(self, hub_id: str) -> None:
        port = await self._r.hub(PORT, hub_id)
        if port is None:
            await self._follow(PORT, hub_id, None, self._drop_copy)
            return
        if str(port["device_owner"]).startswith("network:"):
            return  # a router's: its router's sync knows its address in each site

        async def sync(site: str, copy: str) -> bool:
            groups = await self._groups.ensure(site, port["security_groups"])
            extensions = await self._site_extensions(site)
            pairs = await self._store.pairs.to_site(site, [f["subnet_id"] for f in port["fixed_ips"]])
            (local,) = await self._qos.localised(site, extensions, port)
            return await self._ports.sync(site, local, copy, {k: p.site_id for k, p in pairs.items()}, groups, extensions)

        members = await self._groups.members.concerned(port["security_groups"], await self._r.sites_of(PORT, hub_id))
        async with self.change(*((MEMBERS.name, m) for m in members)):
            await self._follow(PORT, hub_id, sync, self._drop_copy)
        for floating in await self._r.hub_list(FLOATING, ("port_id", hub_id)):
            self.queue.add((FLOATING.name, floating["id"]))
        if trunk := port.get("trunk_details"):
            await self._sync_trunk(trunk["trunk_id"])

    async def _sync_group(self, hub_id: str) -> None:
        group = await self._r.hub(GROUP, hub_id)
        sync = None if group is None else lambda site, copy: self._groups.sync(site, group, copy)
        await self._follow(GROUP, hub_id, sync, self._groups.drop)

    async def _sync_addresses(self, hub_id: str) -> None:
        group = await self._r.hub(ADDRESS_GROUP, hub_id)
        sync = None if group is None else lambda site, copy: self._groups.sync_addresses(site, group, copy)
        await self._follow(ADDRESS_GROUP, hub_id, sync, lambda site, hub, copy: self._r.delete(site, ADDRESS_GROUP, hub, copy))

    async def _sync_members(self, hub_id: str) -> None:
        """Where the address group is gone, its companions are too: the rules of every group there that names it are looked at."""
        copies = await self._r.sites_of(MEMBERS, hub_id)

        async def sync(site: str) -> None:
            if await self._groups.members.sync(site, hub_id, copies[site]):
                return
            await self._store.pairs.drop(MEMBERS.name, hub_id, site)
            for rule in await self._r.hub_list(RULE, ("remote_group_id", hub_id.removesuffix(COMPANION))):
                await self.sync(GROUP.name, rule["security_group_id"])

        await self._each(copies, sync)

    async def _sync_qos(self, hub_id: str) -> None:
        policy = await self._r.hub(QOS, hub_id)
        sync = None if policy is None else lambda site, copy: self._qos.sync(site, policy, copy)
        await self._follow(QOS, hub_id, sync, self._qos.drop)

    async def _sync_trunk(self, hub_id: str) -> None:
        """Where its parent's copy stands, and where it stood."""
        trunk = await self._r.hub(TRUNK, hub_id)
        copies = await self._r.sites_of(TRUNK, hub_id)
        if trunk is None:
            await self._follow(TRUNK, hub_id, None, self._trunks.drop)
            return
        ports = [trunk["port_id"], *(s["port_id"] for s in trunk["sub_ports"])]
        stand = {site for port in ports for site in await self._r.sites_of(PORT, port)}
        await self._each(copies.keys() | stand, lambda site: self._trunks.sync(site, trunk))

    async def _sync_sharing(self, network: str) -> None:
        allowed = await self._sharing.allowed(network)
        copies = await self._r.sites_of(NETWORK, network)
        await self._each(copies, lambda site: self._sharing.sync(site, network, copies[site], allowed))

    async def _sync_router(self, hub_id: str) -> None:
        router = await self._r.hub(ROUTER, hub_id)
        if router is None:
            await self._pin(hub_id, None, ())
            await self._routers.lost(hub_id)
            await self._follow(ROUTER, hub_id, None, self._routers.drop)
            await self._unbridge(hub_id)
            return
        plan = await self._plan(router)
        copies = await self._r.sites_of(ROUTER, hub_id)
        await self._each(plan.leaving, lambda site: self._routers.drop(site, hub_id, copies[site]))
        await self._each(plan.sites, lambda site: self._routers.sync(site, plan))
        if plan.bridge is None:
            await self._unbridge(hub_id)
        if plan.stale:
            await self._sync_router(hub_id)

    async def _plan(self, router: Doc) -> Plan:
        plan = await self._routers.plan(router)
        await self._pin(router["id"], self._networks.stays(router), {p["network_id"] for p in plan.interfaces})
        return plan

    async def _pin(self, router: str, site: str | None, networks: Collection[str]) -> None:
        """Networks of a router that stays in one site: guests elsewhere are told another gateway address than before."""
        pinned = self._networks.pinned
        if moves := await pinned.moves(router, site, networks):
            async with self.change(*((NETWORK.name, net) for net in moves)):
                await pinned.keep(router, site, networks)

    async def _unbridge(self, router: str) -> None:
        """No site has an interface on it any more."""
        if not await self._routers.bridges.known(router):
            return
        for net in await self._routers.bridges.of(router):
            await self._routers.bridges.lost(router, net["id"])
            async with self.change((NETWORK.name, net["id"])):
                await self._routers.bridges.delete(net["id"])
        await self._routers.bridges.forget(router)

    async def _sync_floating(self, hub_id: str) -> None:
        """In the sites of its port, and nowhere else: elsewhere it goes first, so that its address answers once."""
        floating = await self._r.hub(FLOATING, hub_id)
        forwardings = await self._floating.forwardings(floating) if floating else []
        there = await self._floating.sites(floating, forwardings) if floating else {}
        copies = await self._r.sites_of(FLOATING, hub_id)

        async def drop(site: str) -> None:
            await self._floating.drop(site, hub_id, copies[site])

        await self._each(copies.keys() - there.keys(), drop)
        if floating is None or not there:
            return
        router = await self._r.hub(ROUTER, floating["router_id"] or "")
        if router is None:
            return
        plan = await self._plan(router)
        if astray := there.keys() - plan.sites:
            log.warning("floating IP does not reach its port: the router stays elsewhere", id=hub_id, sites=sorted(astray))

        async def make(site: str) -> None:
            await self._routers.sync(site, plan)
            await self._floating.sync(site, floating, there[site], forwardings)

        await self._each(there.keys() & plan.sites, make)

    async def may_float(self, external: str, port: str, beside: Iterable[str] = ()) -> None:
        """See ``FloatingReplicas.judge``."""
        await self._floating.judge(external, port, beside)

    async def may_route(self, router: Doc, network: str) -> None:
        """Raises Fault 409 where the hub's router stays in a site that this network cannot come to."""
        if (site := self._networks.stays(router)) is not None:
            await self._networks.may_reach(site, network)

    async def _site_extensions(self, site: str) -> frozenset[str]:
        known = self._extensions.get(site)
        if known is None or time.monotonic() - known[0] > EXTENSIONS_FOR:
            reply = await self._south.call(site, "network", "GET", "/v2.0/extensions", params=[("fields", "alias")])
            known = (time.monotonic(), frozenset(e["alias"] for e in reply.expect(200).json()["extensions"]))
            self._extensions[site] = known
        return known[1]
