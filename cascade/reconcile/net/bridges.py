"""Bridge networks: where the routers that stand in several sites for one hub router meet (ADR 12).

One per hub router, made when a site first needs another's subnets, gone when none does. It is a network of the hub like any
other, so its VLAN and its addresses come from there and its copies follow like all copies; it belongs to the service account's
project, and the hub's router knows nothing of it. So no quota, route or interface of a tenant shows it.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import structlog

from cascade.model.errors import BadReply
from cascade.model.site import HUB
from cascade.reconcile.net.networks import RESERVED, NetworkReplicas, reserved_for
from cascade.reconcile.net.reach import free, overlapping
from cascade.reconcile.net.replica import NETWORK, PORT, SUBNET, Doc, Kind, Replicas

log = structlog.get_logger(__name__)

BRIDGE = "cascade.bridge:"
"""Begins the hub network's ``description``, and those of its subnets and addresses; the router's id follows."""
RANGES = {4: ("100.64.0.0/10", 22), 6: ("fdca:5cad:e000::/52", 64)}
"""IP version -> where bridges get their range, and its prefix length: two addresses per site. Bridges of different routers may have
the same one; it overlaps with nothing of its own router."""


@dataclass(frozen=True, slots=True)
class Bridge:
    """One, as the hub has it."""

    net: Doc
    subnets: list[Doc]
    ports: dict[str, list[Doc]]
    """Site -> the hub ports that hold its router's addresses, one per subnet."""

    def hops(self) -> dict[tuple[str, int], str]:
        """(site, IP version) -> the address of its router."""
        addresses = ((s, f["ip_address"]) for s, ports in self.ports.items() for p in ports for f in p["fixed_ips"])
        return {(site, ipaddress.ip_address(address).version): address for site, address in addresses}


class Bridges:
    """Every method may be repeated, by several processes at once."""

    def __init__(self, replicas: Replicas, networks: NetworkReplicas) -> None:
        self._r, self._networks = replicas, networks

    async def known(self, router: str) -> bool:
        """Whether there may be one. Never asks the hub."""
        return await self._r.store.docs.get(_mark(router)) is not None

    async def of(self, router: str) -> list[Doc]:
        """The router's bridge networks at the hub: none, one, or after a lost answer to a create two."""
        project = await self._r.south.project_id(HUB, None)
        found = await self._r.hub_list(NETWORK, ("description", BRIDGE + router), ("project_id", str(project)))
        return sorted(found, key=lambda n: str(n["id"]))

    async def ensure(self, router: str, cidrs: list[str], versions: Iterable[int], sites: set[str]) -> Bridge | None:
        """The bridge with an address for each of these sites; None where the one there is overlaps with ``cidrs`` (the router's
        subnets and the destinations of its routes) and must go first. Raises BadReply where the hub has nothing left for it.
        """
        async with self._r.alone(HUB, "bridge", router):
            known = await self._r.store.docs.get(_mark(router)) or []
            await self._r.store.docs.put(_mark(router), sorted({*known, *sites}))
            found = await self.of(router)
            net = found[0] if found else await self._make(NETWORK, {"name": "cascade-bridge", "description": BRIDGE + router})
            have = await self._r.hub_list(SUBNET, ("network_id", net["id"]))
            if overlapping([s["cidr"] for s in have], cidrs):
                return None
            subnets = have + [
                await self._subnet(net, router, version, cidrs)
                for version in sorted(set(versions) - {s["ip_version"] for s in have})
            ]
        rows = await self._r.hub_list(PORT, ("network_id", net["id"]), ("device_owner", RESERVED))
        there = {(p["device_id"], f["subnet_id"]): p for p in rows for f in p["fixed_ips"]}

        async def address(site: str, subnet: Doc) -> Doc:
            known = there.get((reserved_for(site, router=True), subnet["id"]))
            return known or await self._networks.reservation(site, subnet, router=True)

        ports = {site: await asyncio.gather(*(address(site, s) for s in subnets)) for site in sorted(sites)}
        return Bridge(net, subnets, ports)

    async def lost(self, router: str, net: str) -> None:
        """It is about to go: copies that were made and never paired are known again, to go with it."""
        await self._r.recover(NETWORK, net, await self._r.store.docs.get(_mark(router)) or [])

    async def delete(self, net: str) -> None:
        """The network goes at the hub, its addresses with it."""
        reply = await self._r.south.call(HUB, "network", "DELETE", f"{NETWORK.path}/{net}")
        if not reply.ok and reply.status != 404:
            raise BadReply(HUB, f"bridge: {reply.status} {reply.body[:300]!r}")

    async def forget(self, router: str) -> None:
        """There is none any more."""
        await self._r.store.docs.drop(_mark(router))

    async def _subnet(self, net: Doc, router: str, version: int, cidrs: list[str]) -> Doc:
        within, length = RANGES[version]
        cidr = free((str(n) for n in ipaddress.ip_network(within).subnets(new_prefix=length)), cidrs)
        body = {
            "network_id": net["id"], "ip_version": version, "cidr": cidr, "gateway_ip": None, "enable_dhcp": False,
            "description": BRIDGE + router,
        }  # fmt: skip
        return await self._make(SUBNET, body)

    async def _make(self, kind: Kind, body: dict[str, Any]) -> Doc:
        project = await self._r.south.project_id(HUB, None)
        return await self._r.create(HUB, kind, {**body, "project_id": project})


def _mark(router: str) -> str:
    return f"router.bridge/{router}"
