"""Many changes in any order while calls fail: when it is quiet again, hub and sites are equal."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest

from cascade.model.errors import CascadeError
from tests.unit.network_fake import ME, Cloud, Net, error

Doc = dict[str, Any]
INTERFACE = "network:router_interface"
SITES = ("paris", "tokyo")
OPERATIONS = 200


class Tenant:
    """What a tenant does to networks and routers, each thing as the hub's Neutron would let him."""

    def __init__(self, net: Net, chance: random.Random) -> None:
        self.net, self.chance = net, chance
        self.nets: list[tuple[Doc, Doc]] = []
        self.routers: list[Doc] = []
        self.inside: dict[str, tuple[Doc, Doc]] = {}
        """Interface port -> its router and network."""
        self.servers: list[Doc] = []
        self.failed: list[tuple[str, Doc]] = []
        self.numbers = iter(range(1, 10_000))

    async def network(self) -> None:
        number = next(self.numbers)
        self.nets.append(self.net.network(f"n{number}", f"10.{number // 250}.{number % 250}.0/24"))

    async def router(self) -> None:
        if len(self.routers) < 3:
            self.routers.append(self.net.hub.add("routers", {"name": f"r{next(self.numbers)}", "project_id": "p1"}))

    async def plug(self) -> None:
        held = {net["id"] for _router, net in self.inside.values()}
        free = [(net, subnet) for net, subnet in self.nets if net["id"] not in held]
        if not free or not self.routers:
            return
        (net, subnet), router = self.chance.choice(free), self.chance.choice(self.routers)
        async with self.net.networks.change(("router", router["id"])):
            fixed = [{"subnet_id": subnet["id"], "ip_address": subnet["gateway_ip"]}]
            owner = {"device_id": router["id"], "device_owner": INTERFACE, "project_id": "p1"}
            port = self.net.hub.add("ports", {"network_id": net["id"], "fixed_ips": fixed, **owner})
            self.inside[port["id"]] = (router, net)

    async def unplug(self) -> None:
        if self.inside:
            ident = self.chance.choice(list(self.inside))
            router, _net = self.inside[ident]
            async with self.net.networks.change(("router", router["id"])):
                del self.net.hub.rows["ports"][ident], self.inside[ident]

    async def boot(self) -> None:
        """One that failed is tried again before the next: what a request that is given up leaves is its undoing's to find."""
        if self.nets and not self.failed:
            net, _subnet = self.chance.choice(self.nets)
            self.failed.append((self.chance.choice(SITES), self.net.port(net)))
        for site, port in self.failed:
            await self.net.networks.materialise_port(site, port, ME)
            self.servers.append(port)
        self.failed.clear()

    async def shut(self) -> None:
        if self.servers:
            port = self.chance.choice(self.servers)
            async with self.net.networks.change(("port", port["id"])):
                del self.net.hub.rows["ports"][port["id"]]
                self.servers.remove(port)

    async def no_router(self) -> None:
        busy = {router["id"] for router, _net in self.inside.values()}
        for router in [r for r in self.routers if r["id"] not in busy][:1]:
            async with self.net.networks.change(("router", router["id"])):
                del self.net.hub.rows["routers"][router["id"]]
            self.routers.remove(router)

    async def no_network(self) -> None:
        busy = {net["id"] for _router, net in self.inside.values()} | {p["network_id"] for p in self.servers}
        busy |= {port["network_id"] for _site, port in self.failed}
        for net, subnet in [(n, s) for n, s in self.nets if n["id"] not in busy][:1]:
            async with self.net.networks.change(("network", net["id"])):
                assert self.net.hub._delete("networks", self.net.hub.rows["networks"][net["id"]])[0] == 204
            self.nets.remove((net, subnet))


class Faults:
    """Some calls of some clouds fail, before or after their work is done."""

    def __init__(self, net: Net, chance: random.Random) -> None:
        self.net, self.chance, self.share = net, chance, 0.0
        for cloud in (net.paris, net.tokyo, net.hub):
            cloud.serve = self._over(cloud.serve)  # type: ignore[method-assign]

    def _over(self, plain: Any) -> Any:
        def serve(*call: Any) -> Any:
            drawn = self.chance.random()
            if drawn < self.share / 2:
                return error(503, "ServiceUnavailable")
            answer = plain(*call)
            return error(503, "ServiceUnavailable") if drawn < self.share else answer

        return serve


async def quiet(net: Net) -> None:
    """Work off everything, however often it was put off."""
    for _ in range(40):
        net.networks.queue.hurry(lambda key: True)
        await net.settle()
        if not len(net.networks.queue):
            return
    raise AssertionError(f"never quiet: {net.networks.queue._due}")


def reached(cloud: Cloud, router: Doc) -> set[str]:
    """CIDRs that a site's router leads to, on its own wires or by a route."""
    ports = [p for p in cloud.rows["ports"].values() if p["device_id"] == router["id"]]
    return {cloud.rows["subnets"][f["subnet_id"]]["cidr"] for p in ports for f in p["fixed_ips"]} | {
        r["destination"] for r in router["routes"]
    }


def equal(net: Net) -> None:
    """Copies are of what the hub has, every router leads to all of its subnets that stand anywhere, and to nothing else."""
    hub = net.hub.rows
    clouds = {c.name: c for c in (net.paris, net.tokyo)}
    for cloud in clouds.values():
        for path in ("networks", "subnets", "ports", "routers"):
            stamps = [r["description"].removeprefix("cascade:") for r in cloud.copies(path)]
            assert len(stamps) == len(set(stamps)) and set(stamps) <= hub[path].keys(), (cloud.name, path)
    bridges = [n for n in hub["networks"].values() if n["name"] == "cascade-bridge"]
    for router in hub["routers"].values():
        inside = [p for p in hub["ports"].values() if p["device_id"] == router["id"]]
        stands = {p["network_id"]: {s for s, c in clouds.items() for n in c.copies("networks")
                                    if n["description"] == f"cascade:{p['network_id']}"} for p in inside}  # fmt: skip
        where = {s for sites in stands.values() for s in sites}
        wanted = {hub["subnets"][f["subnet_id"]]["cidr"] for p in inside if stands[p["network_id"]] for f in p["fixed_ips"]}
        mine = [b for b in bridges if b["description"].endswith(router["id"])]
        apart = any(sites and sites != where for sites in stands.values())
        assert len(mine) == apart, (stands, mine)
        ranges = {s["cidr"] for b in mine for s in hub["subnets"].values() if s["network_id"] == b["id"]}
        for name, cloud in clouds.items():
            for copy in [r for r in cloud.copies("routers") if r["description"].endswith(router["id"])]:
                assert reached(cloud, copy) - ranges == (wanted if name in where else set()), (name, stands)
    assert {b["description"].removeprefix("cascade.bridge:") for b in bridges} <= hub["routers"].keys()


@pytest.mark.parametrize("seed", range(6))
async def test_hub_and_sites_end_equal(tmp_path: Path, seed: int) -> None:
    """Two hundred changes, a fifth of all calls failing now and then, either site away for a while."""
    chance = random.Random(seed)
    net = await Net.open(tmp_path)
    tenant, faults = Tenant(net, chance), Faults(net, chance)
    common = [tenant.plug, tenant.plug, tenant.boot, tenant.boot, tenant.boot, tenant.unplug, tenant.shut]
    acts = [tenant.network, tenant.router, tenant.no_router, tenant.no_network, *common]
    for number in range(OPERATIONS):
        faults.share = chance.choice([0.0, 0.0, 0.05, 0.2])
        if number % 10 == 0:
            net.down.clear()
            net.down.update(chance.choice([(), (), ("paris",), ("tokyo",)]))
        with contextlib.suppress(CascadeError):
            await chance.choice(acts)()
        if chance.random() < 0.3:
            await net.networks.queue.drain()
    faults.share = 0.0
    net.down.clear()
    await quiet(net)  # copies of what is gone may still have the address of what is not yet there
    await tenant.boot()
    await quiet(net)
    equal(net)
    await net.store.close()
