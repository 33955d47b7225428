"""Copies of what the hub has: a flavor for all sites, a network and an image that many want in the same moment."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator

from bench.clients import Crowd, Wish, at_once, settled
from bench.progress import Progress
from bench.report import Figure, latencies
from bench.tenants import Tenant, count, image, network, unlimited
from bench.world import World
from lab.report import LabError, step

WAIT = 300.0
"""Seconds after which what is not there has failed."""


def flavor(world: World) -> Iterator[Figure]:
    """A new flavor, until every site has it: time and calls."""
    admin = world.admin()
    before, began = world.clouds(), time.monotonic()
    wish = {"name": "bench", "ram": 256, "vcpus": 1, "disk": 1}
    made = admin.ask("POST", "/compute/v2.1/flavors", {"flavor": wish})["flavor"]["id"]
    answered = time.monotonic() - began
    while lacking := _lacking(world, before):
        if time.monotonic() - began > WAIT:
            raise LabError(f"{len(lacking)} sites have not got the flavor: {', '.join(lacking[:3])}...")
        time.sleep(0.05)
    took, after = time.monotonic() - began, world.clouds()
    admin.ask("DELETE", f"/compute/v2.1/flavors/{made}")
    calls = sum(sum(after[n]["calls"].values()) - sum(before[n]["calls"].values()) for n in world.sites)
    yield Figure("new flavor: answered to the administrator", answered * 1000, "ms")
    yield Figure(f"new flavor: in all {len(world.sites)} sites", took, "s")
    yield Figure("new flavor: calls per site, the background's in that time included", calls / len(world.sites), "")


def _lacking(world: World, before: dict[str, dict[str, int]]) -> list[str]:
    now = world.clouds()
    return [n for n in world.sites if now[n]["flavors"] <= before[n]["flavors"]]


def boots(world: World) -> Iterator[Figure]:
    """First boots of many tenants at once on one network and one image: copies made in each site, and the wait."""
    admin, many = world.admin(), min(world.sizes.boots, count(world))
    with step(f"{many} tenants log in"):
        bits, net = image(admin, "bench-boots"), network(admin, "bench-boots", shared=True)[0]
        tenants = [Tenant(world.tenant(n), net) for n in range(many)]
        for tenant in tenants:  # with ten thousand servers in each site they have more already than a new project may
            unlimited(admin, tenant.user)
    before, cpu, began = world.clouds(), world.cpu(), time.monotonic()
    with step(f"{many} boots"):
        crowd, ids = asyncio.run(_boot(world, tenants, bits))
        accepted = time.monotonic() - began
        wishes = [Wish(f"/compute/v2.1/servers/{i}", t.user, "ACTIVE") for i, t in ids]
        late = asyncio.run(settled(world.url, wishes, WAIT))
    took, after = time.monotonic() - began, world.clouds()
    used = [n for n in world.sites if after[n].get("images", 0) > before[n].get("images", 0)]
    yield Figure(f"{many} first boots: failed or not ACTIVE", crowd.tally.failed.total() + len(late), "", 0)
    yield from latencies(f"{many} first boots: accepted", crowd.tally.every())
    yield Figure(f"{many} first boots: the last accepted", accepted, "s")
    yield Figure(f"{many} first boots: the last seen ACTIVE", took, "s")
    yield Figure(f"{many} first boots: CPU of each", (world.cpu() - cpu) / many * 1000, "ms")
    yield Figure("first boots: sites", len(used), "")
    for table in ("images", "networks", "subnets"):
        most = max((after[n].get(table, 0) - before[n].get(table, 0) for n in used), default=0)
        yield Figure(f"first boots: {table} made per site, at the site with most", most, "", 1)


async def _boot(world: World, tenants: list[Tenant], bits: str) -> tuple[Crowd, list[tuple[str, Tenant]]]:
    ids: list[tuple[str, Tenant]] = []

    def boot(tenant: Tenant) -> Callable[[], Awaitable[object]]:
        async def one() -> None:
            wish = tenant.server("bench-boots", bits)
            if made := await crowd.ask("boot", tenant.user, "POST", "/compute/v2.1/servers", wish):
                ids.append((made["server"]["id"], tenant))

        return one

    async with Crowd(world.url) as crowd:
        await at_once(len(tenants), [boot(t) for t in tenants], Progress("boots", len(tenants)))
    return crowd, ids
