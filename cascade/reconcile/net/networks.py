"""Networks and subnets in sites.

The hub is the one IPAM: a site may hand out by itself only the address the hub reserved for it per subnet (for its
DHCP or metadata port); every other address comes from the hub. A reservation is a hub port of owner ``network:dhcp``,
which blocks no deletion (design review 2.7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import structlog

from cascade.model.errors import BadReply, Conflict, Fault
from cascade.model.site import HUB
from cascade.reconcile.net import orphans
from cascade.reconcile.net.pinned import Pinned
from cascade.reconcile.net.pinned import home as _home
from cascade.reconcile.net.replica import NETWORK, PORT, SUBNET, Doc, Gone, Refused, Replicas, accepted
from cascade.reconcile.net.span import Span, alone, hinted, joined
from cascade.sites.registry import Sites

log = structlog.get_logger(__name__)

RESERVED = "network:dhcp"
RESERVATION = "cascade-"
"""``device_id`` of a reservation: ``cascade-<site>``, of a router's address ``cascade-<site>-router``."""
AUTOMATIC = ("slaac", "dhcpv6-stateless")
_PASSED = ("name", "admin_state_up", "port_security_enabled", "dns_domain", "qos_policy_id")
_SUBNET_PASSED = ("name", "enable_dhcp", "dns_nameservers", "host_routes")
_SUBNET_FIXED = ("ip_version", "cidr", "ipv6_ra_mode", "ipv6_address_mode")


@dataclass(frozen=True, slots=True)
class Placed:
    """A network in a site."""

    network: str
    subnets: Mapping[str, str]
    """hub subnet -> site subnet"""
    automatic: frozenset[str] = frozenset()
    """Hub subnets whose addresses follow from the MAC there: Neutron adds them by itself and refuses them twice."""


class NetworkReplicas:
    """Networks with all their subnets. The hub's documents come in; ids of the site go out."""

    def __init__(self, replicas: Replicas, sites: Sites) -> None:
        self._r, self._sites, self._span = replicas, sites, Span(replicas, sites)
        self.pinned = Pinned(replicas.store)

    async def ensure(self, site: str, net: Doc, subnets: list[Doc], *, routed: set[str], consumer: str | None) -> Placed:
        """The network and these subnets are in the site and usable by the ``consumer`` (hub project).

        ``routed``: the subnets that have a router. ``consumer`` None: Cascade itself. Raises Fault 409 where the hub has no
        address left for the site, or the network cannot stand there.
        """
        if net.get("router:external"):
            return await self._outside(site, net, subnets)
        if consumer is not None and await self._r.site_id(site, NETWORK, net["id"]) is None:
            await self._span.admit(site, net)
        site_id, row = await self._network(site, net)
        if row is not None:
            await self._r.update(site, NETWORK, row, passed(net, _PASSED))
        made = await asyncio.gather(*(self._subnet(site, net, s, site_id, routed=s["id"] in routed) for s in subnets))
        if consumer is not None and consumer != net["project_id"]:
            await self._share(site, site_id, consumer)
        automatic = frozenset([s["id"] for s in subnets if await self.automatic(site, s)])
        return Placed(site_id, dict(zip((s["id"] for s in subnets), made, strict=True)), automatic)

    async def _outside(self, site: str, net: Doc, subnets: list[Doc]) -> Placed:
        """The site's external network and, of the hub's subnets, those it has too: nothing is made. The addresses are the hub's."""
        site_id = await self.external(site, net)
        rows = {r["cidr"]: r["id"] for r in await self._r.site_list(site, SUBNET, ("network_id", site_id))}
        return Placed(site_id, {s["id"]: rows[s["cidr"]] for s in subnets if s["cidr"] in rows})

    def zones(self, row: Doc) -> list[str]:
        """The sites that an object's zone hints mean."""
        return hinted(self._sites, row)

    def stays(self, router: Doc) -> str | None:
        """The one site a router's zone hints name."""
        return alone(self._sites, router)

    async def bring(self, site: str, networks: Iterable[str]) -> None:
        """Networks stand in the site, with all their subnets, where they can: their router is there and nowhere else."""
        for ident in networks:
            if await self._r.site_id(site, NETWORK, ident) is not None or (net := await self._r.hub(NETWORK, ident)) is None:
                continue
            try:
                await self._span.admit(site, net)
            except Fault as e:
                log.warning("network stays without its router", site=site, network=ident, error=e.message)
                continue
            subnets = await self._r.hub_list(SUBNET, ("network_id", ident))
            await self.ensure(site, net, subnets, routed={s["id"] for s in subnets}, consumer=None)

    async def may_reach(self, site: str, network: str) -> None:
        """Raises Fault 409 where a network cannot stand in a site, before anybody tries; nothing is written down."""
        net = await self._r.hub(NETWORK, network)
        if net is not None:
            await self._span.judge(site, net)

    def joined(self, one: str, two: str) -> bool:
        """Whether frames get from one site to the other."""
        known = {s.name for s in self._sites.all()}
        return {one, two} <= known and joined(self._sites, one, two)

    async def external(self, site: str, net: Doc) -> str:
        """The site's own external network for the hub's: the one the operator named, else of the same name, else the only one."""
        zones = hinted(self._sites, net)
        if zones and site not in zones:
            raise Fault(409, f"External network {net['id']} is not available in availability zone {site}.")
        known = await self._r.site_id(site, NETWORK, net["id"])
        if known is not None:
            return known
        rows = await self._r.site_list(site, NETWORK, ("router:external", "true"))
        named = self._sites.get(site).options.get("external_network")
        found = [r for r in rows if named in (r["id"], r["name"])] if named else [r for r in rows if r["name"] == net["name"]]
        found = found or ([] if named else [r for r in rows if r["name"] == "public"] or (rows if len(rows) == 1 else []))
        if not found:
            raise Fault(409, f"External network {net['id']} is not available in availability zone {site}.")
        try:
            await self._r.pair(site, NETWORK, net["id"], found[0]["id"], None)
        except Conflict:
            # Two external networks of the hub meet in one of the site: right for the first, good enough for the second.
            log.info("external network is another one's pair already", site=site, network=net["id"])
        return str(found[0]["id"])

    async def sync(self, site: str, net: Doc, subnets: list[Doc], site_id: str, *, routed: set[str]) -> bool:
        """After a change at the hub; False where the copy is gone."""
        if net.get("router:external"):
            return True
        row = await self._r.show(site, NETWORK, site_id)
        if row is None:
            return False
        await self._r.update(site, NETWORK, row, passed(net, _PASSED))
        await asyncio.gather(*(self.sync_subnet(site, net, s, site_id, routed=s["id"] in routed) for s in subnets))
        return True

    async def sync_subnet(self, site: str, net: Doc, subnet: Doc, network: str, *, routed: bool) -> None:
        """One subnet as the hub has it; made if it came later than its network."""
        site_id = await self._subnet(site, net, subnet, network, routed=routed)
        row = await self._r.show(site, SUBNET, site_id)
        if row is None:
            await self._r.store.pairs.drop(SUBNET.name, subnet["id"], site)
            raise Gone(f"subnet {site_id} is not at {site} any more")
        want = passed(subnet, _SUBNET_PASSED) | {"gateway_ip": await self._gateway(site, net, subnet, routed=routed)}
        await self._r.update(site, SUBNET, row, want)

    async def forget_gone(self, site: str, net_id: str, subnets: Iterable[str]) -> None:
        """Drop the pairs of what the site's owner deleted. Only the site's own 404 counts."""
        for kind, hub_id in ((NETWORK, net_id), *((SUBNET, s) for s in subnets)):
            site_id = await self._r.site_id(site, kind, hub_id)
            if site_id is not None and await self._r.show(site, kind, site_id) is None:
                await self._r.store.pairs.drop(kind.name, hub_id, site)

    async def drop_subnet(self, site: str, hub_id: str, site_id: str) -> None:
        """The hub's subnet is gone."""
        await self._r.delete(site, SUBNET, hub_id, site_id)

    # -- where a network is at home ----------------------------------------------------------------------------------

    async def home(self, net: Doc, site: str | None = None) -> str | None:
        """The site whose router answers the subnet's gateway address (R2.12): decided once, ``site`` when nothing speaks
        for another. An AZ hint of the network wins, then the project's home."""
        known = await self._r.store.docs.get(_home(net["id"]))
        if known is not None or site is None:
            return str(known) if known is not None else None
        wanted = [*hinted(self._sites, net), await self._r.store.index.home_of(net["project_id"]), site]
        home: str = next((w for w in wanted if w in self._sites.names()), site)
        await self._r.store.docs.put(_home(net["id"]), home)
        return home

    async def forget_home(self, hub_id: str) -> None:
        """The network is gone."""
        await self._r.store.docs.drop(_home(hub_id))
        await self._span.forget(hub_id)

    async def announces(self, site: str, subnet: Doc) -> bool:
        """Whether routers of this site announce an IPv6 subnet (R2.11): those of the first site where it stands do. The copies in
        all others have no modes, so that their routers are silent; guests there hear the one over the WAN."""
        if not subnet.get("ipv6_ra_mode"):
            return True
        docs, key = self._r.store.docs, _announcer(subnet["id"])
        known = await docs.get(key)
        if known is None:
            async with self._r.alone(HUB, "announcer", subnet["id"]):
                known = await docs.get(key) or await self._announcer(site, subnet)
                await docs.put(key, known)
        return bool(known == site)

    async def _announcer(self, site: str, subnet: Doc) -> str:
        """Where the database does not say: after a rebuild the copies do."""
        copies = await self._r.sites_of(SUBNET, subnet["id"])
        here = await self._r.show(site, SUBNET, copies[site]) if site in copies else None
        others = copies.keys() - {site}
        return site if not others or (here is not None and here.get("ipv6_ra_mode")) else min(others)

    async def automatic(self, site: str, subnet: Doc) -> bool:
        """Whether Neutron there gives ports of this subnet the address that follows from their MAC, asked or not."""
        return from_mac(subnet) and await self.announces(site, subnet)

    async def forget_announcer(self, hub_id: str) -> None:
        """The subnet is gone."""
        await self._r.store.docs.drop(_announcer(hub_id))

    async def address(self, site: str, net: Doc, subnet: Doc, hub_address: str) -> str:
        """The address a router interface has in this site: the hub's own at home, a reserved one elsewhere."""
        if await self.home(net, site) == site:
            return hub_address
        return await self.reserve(site, subnet, router=True)

    # -- reservations ------------------------------------------------------------------------------------------------

    async def reserve(self, site: str, subnet: Doc, *, router: bool = False) -> str:
        """The address of the subnet that this site may use by itself. Raises Fault 409 where none is left."""
        port = await self.reservation(site, subnet, router=router)
        return next(str(f["ip_address"]) for f in port["fixed_ips"] if f["subnet_id"] == subnet["id"])

    async def reservation(self, site: str, subnet: Doc, *, router: bool = False) -> Doc:
        """The hub port that holds this address."""
        device = reserved_for(site, router=router)
        known = await self._reserved(subnet, device)
        if known is not None:
            return known
        # For the whole network: a port made for one subnet is given an address of those with SLAAC too, and holds that one then.
        async with self._r.alone(site, f"reserve{'-router' if router else ''}", subnet["network_id"]):
            known = await self._reserved(subnet, device)
            if known is not None:
                return known
            body = {
                "network_id": subnet["network_id"], "device_id": device, "device_owner": RESERVED, "admin_state_up": True,
                "fixed_ips": [{"subnet_id": subnet["id"]}], "name": "", "description": subnet.get("description", ""),
                "project_id": await self._r.south.project_id(HUB, None),
            }  # fmt: skip
            try:
                return await self._r.create(HUB, PORT, body)
            except Refused as e:
                if e.reply.status != 409:
                    raise BadReply(HUB, f"reservation: {e.reply.status} {e.reply.body[:300]!r}") from e
                text = f"No more IP addresses available on network {subnet['network_id']}."
                raise Fault(409, text, kind="IpAddressGenerationFailure") from e

    async def _reserved(self, subnet: Doc, device: str) -> Doc | None:
        rows = await self._r.hub_list(PORT, ("network_id", subnet["network_id"]), ("device_owner", RESERVED), ("device_id", device))
        found = [r for r in rows if any(f["subnet_id"] == subnet["id"] for f in r["fixed_ips"])]
        return min(
            found, key=lambda r: (len(r["fixed_ips"]), r["id"]), default=None
        )  # the one made for this subnet, if there is one

    # -- making ------------------------------------------------------------------------------------------------------

    async def _network(self, site: str, net: Doc) -> tuple[str, Doc | None]:
        known = await self._r.site_id(site, NETWORK, net["id"])
        if known is not None:
            return known, None
        await self.home(net, site)
        project = await self._r.south.shadow.project(site, net["project_id"])
        body: Doc = passed(net, _PASSED)
        overlay = alone(self._sites, net) == site
        if not overlay and net.get("provider:network_type") == "vlan":
            body |= {
                "provider:network_type": "vlan",
                "provider:physical_network": self._sites.get(site).options.get("wan_physnet", "wan"),
                "provider:segmentation_id": net["provider:segmentation_id"],
            }
        owner = None if net.get("shared") else net["project_id"]

        async def make() -> Doc:
            return body

        if net.get("mtu") and not overlay:
            body["mtu"] = net["mtu"]
        for _ in range(2):
            try:
                return await self._r.ensure(site, NETWORK, net["id"], owner=owner, project=project, make=make)
            except Refused as e:
                if e.reply.status == 400 and "mtu" in body:
                    del body[
                        "mtu"
                    ]  # more than the site's wires carry, or not settable there: its own default is the most it can do
                elif b"VlanIdInUse" not in e.reply.body or not await self._evict(site, body):
                    raise
        return await self._r.ensure(site, NETWORK, net["id"], owner=owner, project=project, make=make)

    async def _evict(self, site: str, body: Doc) -> bool:
        return await orphans.evict(self._r, site, body["provider:physical_network"], body["provider:segmentation_id"])

    async def _subnet(self, site: str, net: Doc, subnet: Doc, network: str, *, routed: bool) -> str:
        known = await self._r.site_id(site, SUBNET, subnet["id"])
        if known is not None:
            return known
        project = await self._r.south.shadow.project(site, net["project_id"])
        body: Doc = {
            **passed(subnet, (*_SUBNET_PASSED, *_SUBNET_FIXED)), "network_id": network,
            "gateway_ip": await self._gateway(site, net, subnet, routed=routed),
        }  # fmt: skip
        if not await self.announces(site, subnet):
            body |= {"ipv6_ra_mode": None, "ipv6_address_mode": None}
        if not await self.automatic(site, subnet):
            reserved = await self.reserve(site, subnet)
            body["allocation_pools"] = [{"start": reserved, "end": reserved}]

        async def make() -> Doc:
            return {k: v for k, v in body.items() if v is not None or k == "gateway_ip"}

        owner = None if net.get("shared") else net["project_id"]
        made, _ = await self._r.ensure(site, SUBNET, subnet["id"], owner=owner, project=project, make=make)
        return made

    async def _gateway(self, site: str, net: Doc, subnet: Doc, *, routed: bool) -> str | None:
        """What guests of this site are told. The hub's address where it is answered here or nowhere, else the local router's."""
        hub_address: str | None = subnet["gateway_ip"]
        if hub_address is None or not routed or await self.home(net, site) == site or await self.pinned.site(net["id"]):
            return hub_address
        return await self.reserve(site, subnet, router=True)

    async def _share(self, site: str, network: str, consumer: str) -> None:
        """Nova there looks whether the server's project may use the network."""
        project = await self._r.south.shadow.project(site, consumer)
        body = {"object_type": "network", "object_id": network, "action": "access_as_shared", "target_tenant": project}
        reply = await self._r.call(site, "POST", "/v2.0/rbac-policies", {"rbac_policy": body})
        accepted(site, "rbac_policy", reply, 409)  # 409: it has it already


def reserved_for(site: str, *, router: bool) -> str:
    """The ``device_id`` of a reservation."""
    return f"{RESERVATION}{site}" + ("-router" if router else "")


def _announcer(subnet: str) -> str:
    return f"subnet.announcer/{subnet}"


def from_mac(subnet: Doc) -> bool:
    """Nothing is ever taken from its pool: addresses follow from MACs."""
    return subnet.get("ipv6_address_mode") in AUTOMATIC


def passed(row: Mapping[str, object], keys: Iterable[str]) -> Doc:
    """Those of the keys the row has."""
    return {k: row[k] for k in keys if k in row}
