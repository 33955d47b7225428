"""A site comes back, and much has changed meanwhile: how long until it is level, and what that costs it.

What a site can miss is of three kinds, and for each it is the state that follows, never one change after another:
what all sites have (flavors), what it has copies of because somebody uses it there (networks, security groups and their
rules), and what went at the site itself while nobody could ask it (servers an operator deleted).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

from bench.client import User
from bench.clients import Crowd, Wish, at_once, settled
from bench.progress import Progress
from bench.report import Figure
from bench.tenants import FLAVOR, Tenant, furnished, image
from bench.world import World
from lab.report import LabError, step
from sim.population import shares
from sim.world import Options

PARTS = {"rule": 12, "network": 4, "server": 3, "flavor": 1}
"""Of twenty changes. rule: another one in a security group. network: renamed. server: deleted at the site itself.
flavor: made at the hub, past the gateway: who makes them through it has them in every other site as well."""
GROUPS, AT_ONCE, WAIT, LOOK = 5, 8, 900.0, 1.0
"""Security groups of a tenant's server; requests at once; seconds after which what is not level has failed; between two looks."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A tenant with a server in the site, and the security groups it is in."""

    tenant: Tenant
    groups: list[str]


def away(world: World) -> Iterator[Figure]:
    """A site returns after 10,000 changes it has missed: seconds and calls until copies and index are level."""
    site, admin = world.sites[0], world.admin()
    many = {kind: world.sizes.missed * part // sum(PARTS.values()) for kind, part in PARTS.items()}
    if many["server"] > world.sizes.servers // 2:
        raise LabError(f"takes {2 * many['server']} servers per site")
    owners = _owners(world, site)
    used = _instances(admin, owners)
    before = world.clouds()[site]
    try:
        with step(f"{site} is away"):
            world.fault(site, "down")
            _until("the site counts as down", lambda: _state(admin, site) == "down", 60)
        with step(f"{world.sizes.missed} changes"):
            _change(world, site, owners, many)
    finally:
        calls, cpu, began = world.calls()[site], world.cpu(), time.monotonic()
        world.fault(site, "ok")
    with step("its copies are level"):
        _until("the copies are level", lambda: _level(world.clouds()[site], before, many), WAIT)
    took, called, busy = time.monotonic() - began, world.calls()[site] - calls, world.cpu() - cpu
    wrong = _wrong(world, site, owners, many)
    with step("its index is level"):
        _until("the index is level", lambda: _instances(admin, owners) == used - many["server"], WAIT, fails=False)
    indexed, left = time.monotonic() - began, _instances(admin, owners) - used + many["server"]
    name = f"return after {world.sizes.missed} changes"
    yield Figure(f"{name}: copies are level", took, "s")
    yield Figure(f"{name}: calls to the site until then", called, "")
    yield Figure(f"{name}: CPU until then", busy, "s")
    yield Figure(f"{name}: copies that are not as the hub's", wrong, "", 0)
    yield Figure(f"{name}: {many['server']} servers gone are known to be", indexed, "s")
    yield Figure(f"{name}: calls to the site until then, all", world.calls()[site] - calls, "")
    yield Figure(f"{name}: servers gone and still counted", left, "", 0)


def _owners(world: World, site: str) -> list[Owner]:
    admin = world.admin()
    outside = admin.get("/network/v2.0/networks?router:external=true")["networks"][0]["id"]
    bits, found, wishes = image(admin, "bench-return"), [], []
    with step(f"tenants with a server in {site}"):
        for number in shares(len(world.sites), Options.tenants)[1]:
            tenant = furnished(world, number, outside)
            groups = [_group(tenant.user, f"return-{n}") for n in range(GROUPS)]
            wish = {"name": "return", "flavorRef": FLAVOR, "imageRef": bits, "networks": [{"uuid": tenant.network}],
                    "availability_zone": site, "security_groups": [{"name": f"return-{n}"} for n in range(GROUPS)]}  # fmt: skip
            made = tenant.user.ask("POST", "/compute/v2.1/servers", {"server": wish})["server"]["id"]
            wishes.append(Wish(f"/compute/v2.1/servers/{made}", tenant.user, "ACTIVE"))
            found.append(Owner(tenant, groups))
        if late := asyncio.run(settled(world.url, wishes, WAIT)):
            raise LabError(f"{len(late)} servers in {site} are not ACTIVE")
    return found


def _group(user: User, name: str) -> str:
    return str(user.ask("POST", "/network/v2.0/security-groups", {"security_group": {"name": name}})["security_group"]["id"])


def _change(world: World, site: str, owners: list[Owner], many: dict[str, int]) -> None:
    hub = User(world.root, "admin", "admin")
    for n in range(many["flavor"]):
        hub.ask("POST", "/compute/v2.1/flavors", {"flavor": {"name": f"return-{n}", "ram": 64 + n, "vcpus": 1, "disk": 1}})
    world.control("vanish", {"cloud": site, "servers": many["server"]})
    asyncio.run(_requests(world, owners, many))


async def _requests(world: World, owners: list[Owner], many: dict[str, int]) -> None:
    async with Crowd(world.url) as crowd:

        def rule(n: int) -> Callable[[], Awaitable[object]]:
            owner, port = owners[n % len(owners)], 1 + n // len(owners)
            wish = {"security_group_id": owner.groups[port % GROUPS], "direction": "ingress", "protocol": "tcp",
                    "port_range_min": port, "port_range_max": port}  # fmt: skip
            path = "/network/v2.0/security-group-rules"
            return lambda: crowd.ask("rule", owner.tenant.user, "POST", path, {"security_group_rule": wish})

        def rename(n: int) -> Callable[[], Awaitable[object]]:
            tenant = owners[n % len(owners)].tenant
            path = f"/network/v2.0/networks/{tenant.network}"
            return lambda: crowd.ask("network", tenant.user, "PUT", path, {"network": {"name": f"return-{n}"}})

        work = [rule(n) for n in range(many["rule"])] + [rename(n) for n in range(many["network"])]
        await at_once(AT_ONCE, work, Progress("changes", len(work)))
    if crowd.tally.failed:
        raise LabError(f"changes were refused: {crowd.tally.failed.most_common(3)}")


def _level(now: dict[str, int], before: dict[str, int], many: dict[str, int]) -> bool:
    """By number alone: this is asked every second, of the simulator and not of the site."""
    return all(now[t] >= before[t] + many[k] for t, k in (("flavors", "flavor"), ("security_group_rules", "rule")))


def _wrong(world: World, site: str, owners: list[Owner], many: dict[str, int]) -> int:
    """Compared one by one, hub and site asked directly: flavors, names of networks, ports that rules open."""
    hub, south = User(world.root, "admin", "admin"), User(world.root, "admin", "admin")
    south.move(world.at(site))
    path = "/compute/v2.1/flavors/detail?is_public=none&limit=1000"
    flavors = [{f["id"]: (f["name"], f["ram"]) for f in _all(u, path)} for u in (hub, south)]
    wrong = sum(flavors[1].get(k) != v for k, v in flavors[0].items())
    copies = {n["description"]: n["name"] for n in south.get("/network/v2.0/networks")["networks"]}
    groups = {g["description"]: g for g in south.get("/network/v2.0/security-groups")["security_groups"]}
    for owner in owners:
        network = hub.get(f"/network/v2.0/networks/{owner.tenant.network}")["network"]
        wrong += copies.get(f"cascade:{network['id']}") != network["name"]
        for ident in owner.groups:
            ours = hub.get(f"/network/v2.0/security-groups/{ident}")["security_group"]
            copy = groups.get(f"cascade:{ident}", {"security_group_rules": []})
            wrong += len(_opened(ours) ^ _opened(copy))
    return wrong


def _all(user: User, path: str) -> Iterator[dict[str, object]]:
    marker = ""
    while rows := user.get(path + marker)["flavors"]:
        yield from rows
        marker = f"&marker={rows[-1]['id']}"


def _opened(group: dict[str, list[dict[str, object]]]) -> set[tuple[object, object]]:
    return {(r["direction"], r["port_range_min"]) for r in group["security_group_rules"]}


def _instances(admin: User, owners: list[Owner]) -> int:
    """What the tenants use by the gateway's account."""
    return sum(
        int(admin.get(f"/compute/v2.1/os-quota-sets/{o.tenant.user.project_id}/detail")["quota_set"]["instances"]["in_use"])
        for o in owners
    )


def _state(admin: User, site: str) -> str:
    return next(str(s["health"]["state"]) for s in admin.get("/cascade/v1/sites")["sites"] if s["name"] == site)


def _until(what: str, done: Callable[[], bool], seconds: float, *, fails: bool = True) -> None:
    end, progress, looks = time.monotonic() + seconds, Progress(f"until {what}", 0), 0
    while not done():
        if time.monotonic() > end:
            if fails:
                raise LabError(f"after {seconds:.0f} s still not: {what}")
            return
        time.sleep(LOOK)
        progress.at(looks := looks + 1)
