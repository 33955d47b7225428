"""Neutron in sites: what a boot needs now (``materialise_port``), and what a change at the hub means (``sync``).

The hub's Neutron alone judges and allocates. Copies follow it, level-triggered: a key says which hub object to look
at, never what happened to it. Changes made through us are dirty marks (intents) until every copy has followed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import structlog

from cascade.model.caller import Caller
from cascade.model.errors import CascadeError, Fault, SiteUnreachable
from cascade.model.site import HUB
from cascade.reconcile.net.floating import FloatingReplicas
from cascade.reconcile.net.groups import Groups
from cascade.reconcile.net.networks import NetworkReplicas
from cascade.reconcile.net.ports import PortReplicas
from cascade.reconcile.net.replica import (
    ADDRESS_GROUP,
    FLOATING,
    GROUP,
    NETWORK,
    PORT,
    ROUTER,
    SUBNET,
    Doc,
    Gone,
    Kind,
    Refused,
    Replicas,
)
from cascade.reconcile.net.routers import RouterReplicas
from cascade.reconcile.workqueue import WorkQueue
from cascade.sites.registry import Sites
from cascade.sites.south import South
from cascade.store import Store

log = structlog.get_logger(__name__)

DIRTY = "network.sync"
"""Verb of the intent that stands for copies not known to have followed; ``body`` holds the kind."""
EXTENSIONS_FOR = 300.0
"""Seconds a site's list of Neutron extensions is believed."""
Key = tuple[str, str]
"""(kind, hub id)"""


class Networks:
    """Everything of Neutron south of the hub. ``run`` works off the queue; without it only direct calls act."""

    def __init__(self, store: Store, south: South, sites: Sites) -> None:
        self._store, self._south, self._sites = store, south, sites
        self._r = Replicas(store, south)
        self._r.made = self._look_again
        self._groups = Groups(self._r)
        self._networks = NetworkReplicas(self._r, sites)
        self._ports = PortReplicas(self._r)
        self._routers = RouterReplicas(self._r, self._networks)
        self._floating = FloatingReplicas(self._r, self._networks)
        self._queue: WorkQueue[Key] = WorkQueue(self._work, name="network", base=0.25)
        self._extensions: dict[str, tuple[float, frozenset[str]]] = {}
        self._failing: set[Key] = set()
        self._syncs: dict[str, Callable[[str], Awaitable[None]]] = {
            NETWORK.name: self._sync_network, SUBNET.name: self._sync_subnet, PORT.name: self._sync_port,
            GROUP.name: self._sync_group, ADDRESS_GROUP.name: self._sync_addresses, ROUTER.name: self._sync_router,
            FLOATING.name: self._sync_floating,
        }  # fmt: skip

    async def run(self) -> None:
        """Take up what a former process left dirty, then work until cancelled."""
        self._sites.health.on_up.append(self._returned)
        for intent in await self._store.intents.pending(verb=DIRTY):
            if intent.resource_id:
                self._queue.add((intent.body["kind"], intent.resource_id))
        await self._queue.run()

    # -- a server's port ---------------------------------------------------------------------------------------------

    async def materialise_port(self, site: str, port: dict[str, Any], caller: Caller) -> str:
        """The site's port for a hub port, with network, subnets and groups; returns its id there.

        What is needed comes before what needs it, and no lease is held while another is taken. Everything is written by the
        site's service account, so the ``caller``'s rights must have been judged by the hub before. Raises Fault 409
        where the site cannot have it, SiteError where the site or the hub does not answer.
        """
        del caller
        try:
            made = await self._materialise(site, port)
        except Gone as e:
            log.warning("made again", site=site, port=port["id"], error=str(e))
            made = await self._materialise(site, port)
        now = await self._r.hub(PORT, port["id"])
        if now is None or now["revision_number"] != port["revision_number"]:
            await self.sync(PORT.name, port["id"])  # changed before anybody knew that a copy had to follow
        return made

    async def _materialise(self, site: str, port: Doc) -> str:
        net_id = port["network_id"]
        net, subnets, interfaces, extensions, groups = await asyncio.gather(
            self._r.hub(NETWORK, net_id), self._r.hub_list(SUBNET, ("network_id", net_id)),
            self._routers.interfaces(("network_id", net_id)), self._site_extensions(site),
            self._groups.ensure(site, port.get("security_groups") or ()),
        )  # fmt: skip
        if net is None:
            raise Fault(404, f"Network {net_id} could not be found.")
        if net.get("router:external"):
            raise Fault(409, f"It is not allowed to create an interface on external network {net_id}.")
        routed = {f["subnet_id"] for p in interfaces for f in p["fixed_ips"]}
        placed = await self._networks.ensure(site, net, subnets, routed=routed, consumer=port["project_id"])
        try:
            made = await self._ports.ensure(site, port, placed, groups, extensions)
        except Refused as e:
            if e.reply.status != 404:
                raise
            await self._networks.forget_gone(site, net_id, placed.subnets)
            raise Gone(f"something port {port['id']} needs is not at {site} any more") from e
        for router in {p["device_id"] for p in interfaces}:
            self._queue.add((ROUTER.name, router))
        if interfaces:
            for floating in await self._r.hub_list(FLOATING, ("port_id", port["id"])):
                self._queue.add((FLOATING.name, floating["id"]))
        return made

    async def drop_port(self, hub_port: str) -> None:
        """No site has a copy of this port any more. Raises SiteError while one that may have it does not answer."""
        pairs = await self._store.pairs.of_hub(PORT.name, hub_port)
        for pair in pairs:
            await self._ports.drop(pair.site, hub_port, pair.site_id)
        if pairs:
            return
        # A crash between the site's create and the pair leaves only the stamp: look where its network stands.
        port = await self._r.hub(PORT, hub_port)
        for site in await self._r.sites_of(NETWORK, port["network_id"]) if port else ():
            row = await self._r.find(site, PORT, hub_port)
            if row is not None:
                await self._ports.drop(site, hub_port, row["id"])

    async def drop_port_at(self, site: str, hub_port: str) -> None:
        """The copy in one site goes."""
        site_id = await self._r.site_id(site, PORT, hub_port)
        if site_id is None:
            row = await self._r.find(site, PORT, hub_port)
            site_id = row["id"] if row else None
        if site_id is not None:
            await self._ports.drop(site, hub_port, site_id)

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

    async def dirty(self, kind: str, hub_id: str) -> list[str]:
        """Before a change at the hub: a mark for every key that has copies, so that a crash loses no change. See ``unmark``."""
        if not await self._concerned(kind, hub_id):
            return []
        intent = await self._store.intents.open(
            DIRTY, site="", project_id="", user_id="", resource_id=hub_id, request_id="", body={"kind": kind}
        )
        return [intent.id]

    async def unmark(self, marks: Iterable[str]) -> None:
        """The change did not happen after all."""
        for ident in marks:
            await self._store.intents.close(ident)

    async def sync(self, kind: str, hub_id: str) -> None:
        """After a change (a delete too): copies follow in the background, tried again until they have."""
        self._queue.forget((kind, hub_id))  # a new reason to look: pauses begin anew
        self._queue.add((kind, hub_id))

    def _look_again(self, kind: Kind, hub_id: str) -> None:
        if kind is not PORT:  # of ports there are many: their revision is compared instead
            self._queue.add((kind.name, hub_id))

    async def _concerned(self, kind: str, hub_id: str) -> bool:
        # A router or floating IP without a copy may get its first one by the very change.
        return kind in (ROUTER.name, FLOATING.name) or bool(await self._store.pairs.of_hub(kind, hub_id))

    def _returned(self, site: str) -> None:
        """A site is back: what failed does not wait for its pause to end."""
        for key in list(self._failing):
            self._queue.add(key)

    async def _work(self, key: Key) -> None:
        kind, hub_id = key
        marks = [i.id for i in await self._store.intents.by_resource(hub_id) if i.verb == DIRTY]  # read before looking
        try:
            await self._syncs[kind](hub_id)
        except CascadeError:
            self._failing.add(key)
            raise
        self._failing.discard(key)
        await self.unmark(marks)

    async def _each(self, sites: Iterable[str], act: Callable[[str], Awaitable[None]]) -> None:
        """``act`` in every site beside the others; the first error is raised when all are done."""

        async def one(site: str) -> None:
            if not self._sites.usable(site):
                raise SiteUnreachable(site, "down")
            await act(site)

        done = await asyncio.gather(*(one(s) for s in sites), return_exceptions=True)
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def _follow(
        self,
        kind: Kind,
        hub_id: str,
        sync: Callable[[str, str], Awaitable[bool]] | None,
        drop: Callable[[str, str, str], Awaitable[None]],
    ) -> None:
        """The common shape: every copy follows by ``sync`` (False: it is not there any more) or, without it, by ``drop``."""
        copies = await self._r.sites_of(kind, hub_id)

        async def act(site: str) -> None:
            if sync is None:
                await drop(site, hub_id, copies[site])
            elif not await sync(site, copies[site]):
                log.warning("copy is gone", site=site, kind=kind.name, id=hub_id)
                await self._store.pairs.drop(kind.name, hub_id, site)

        await self._each(copies, act)

    async def _sync_network(self, hub_id: str) -> None:
        net = await self._r.hub(NETWORK, hub_id)
        if net is None:
            await self._follow(NETWORK, hub_id, None, self._drop_network)
            await self._networks.forget_home(hub_id)
            return
        subnets, interfaces = await asyncio.gather(
            self._r.hub_list(SUBNET, ("network_id", hub_id)), self._routers.interfaces(("network_id", hub_id))
        )
        routed = {f["subnet_id"] for p in interfaces for f in p["fixed_ips"]}
        await self._follow(
            NETWORK, hub_id, lambda site, copy: self._networks.sync(site, net, subnets, copy, routed=routed), self._drop_network
        )

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
        await self._r.delete(site, NETWORK, hub_id, site_id)

    async def _sync_subnet(self, hub_id: str) -> None:
        subnet = await self._r.hub(SUBNET, hub_id)
        if subnet is None:
            await self._follow(SUBNET, hub_id, None, self._networks.drop_subnet)
        else:
            await self._sync_network(subnet["network_id"])

    async def _sync_port(self, hub_id: str) -> None:
        port = await self._r.hub(PORT, hub_id)
        if port is None:
            await self._follow(PORT, hub_id, None, self._ports.drop)
            return
        if str(port["device_owner"]).startswith("network:"):
            return  # a router's: its router's sync knows its address in each site

        async def sync(site: str, copy: str) -> bool:
            groups = await self._groups.ensure(site, port["security_groups"])
            extensions = await self._site_extensions(site)
            pairs = await self._store.pairs.to_site(site, [f["subnet_id"] for f in port["fixed_ips"]])
            return await self._ports.sync(site, port, copy, {k: p.site_id for k, p in pairs.items()}, groups, extensions)

        await self._follow(PORT, hub_id, sync, self._ports.drop)
        for floating in await self._r.hub_list(FLOATING, ("port_id", hub_id)):
            self._queue.add((FLOATING.name, floating["id"]))

    async def _sync_group(self, hub_id: str) -> None:
        group = await self._r.hub(GROUP, hub_id)
        sync = None if group is None else lambda site, copy: self._groups.sync(site, group, copy)
        await self._follow(GROUP, hub_id, sync, self._groups.drop)

    async def _sync_addresses(self, hub_id: str) -> None:
        group = await self._r.hub(ADDRESS_GROUP, hub_id)
        sync = None if group is None else lambda site, copy: self._groups.sync_addresses(site, group, copy)
        await self._follow(ADDRESS_GROUP, hub_id, sync, lambda site, hub, copy: self._r.delete(site, ADDRESS_GROUP, hub, copy))

    async def _sync_router(self, hub_id: str) -> None:
        router = await self._r.hub(ROUTER, hub_id)
        if router is None:
            await self._follow(ROUTER, hub_id, None, self._routers.drop)
            return
        interfaces = await self._routers.of(router)

        async def sync(site: str) -> None:
            await self._routers.sync(site, router, interfaces)

        await self._each(await self._routers.sites(hub_id, interfaces), sync)

    async def _sync_floating(self, hub_id: str) -> None:
        """In the sites of its port, and nowhere else: elsewhere it goes first, so that its address answers once."""
        floating = await self._r.hub(FLOATING, hub_id)
        target = floating["port_id"] if floating else None
        there = await self._r.sites_of(PORT, target) if target else {}
        copies = await self._r.sites_of(FLOATING, hub_id)

        async def drop(site: str) -> None:
            await self._floating.drop(site, hub_id, copies[site])

        await self._each(copies.keys() - there.keys(), drop)
        if floating is None or not there:
            return
        router = await self._r.hub(ROUTER, floating["router_id"])
        if router is None:
            return
        interfaces = await self._routers.of(router)

        async def make(site: str) -> None:
            await self._routers.sync(site, router, interfaces)
            await self._floating.sync(site, floating, there[site])

        await self._each(there, make)

    async def _site_extensions(self, site: str) -> frozenset[str]:
        known = self._extensions.get(site)
        if known is None or time.monotonic() - known[0] > EXTENSIONS_FOR:
            reply = await self._south.call(site, "network", "GET", "/v2.0/extensions", params=[("fields", "alias")])
            known = (time.monotonic(), frozenset(e["alias"] for e in reply.expect(200).json()["extensions"]))
            self._extensions[site] = known
        return known[1]
