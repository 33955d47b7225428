"""One slow, one hung and one dead site: what the others' users feel."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Iterator

from bench.client import User
from bench.clients import Crowd, Tally, at_once
from bench.figures.lists import ALL
from bench.progress import Progress
from bench.report import Figure, latencies, percentile
from bench.world import World
from cascade.conf import DEFAULT
from lab.report import LabError, step

FAULTS: dict[str, dict[str, object]] = {"slow": {"seconds": 5}, "hang": {"seconds": 3600}, "down": {}}
ONE_IN = 10
"""Of so many requests one is a list over all sites, the others are operations on a server elsewhere."""
AT_ONCE = 4
DEADLINE = next(float(o.default) for o in DEFAULT if o.name == "list_deadline")


def outage(world: World) -> Iterator[Figure]:
    """One site slow (5 s), one hung, one dead: lists, and operations on servers elsewhere, against the healthy run."""
    if len(world.sites) < len(FAULTS) + 2:
        raise LabError(f"takes {len(FAULTS) + 2} sites")
    tenant, admin = world.tenant(0), world.admin()
    ids = [s["id"] for s in tenant.get("/compute/v2.1/servers?limit=50")["servers"]]
    home = {s["OS-EXT-AZ:availability_zone"] for s in tenant.get("/compute/v2.1/servers/detail?limit=50")["servers"]}
    hit = dict(zip((s for s in reversed(world.sites) if s not in home), FAULTS, strict=False))
    asyncio.run(_run(world, tenant, admin, ids, world.sizes.rounds // 10))  # nothing is cold
    with step("healthy"):
        healthy = asyncio.run(_run(world, tenant, admin, ids, world.sizes.rounds))
    try:
        with step(f"{', '.join(f'{site}: {mode}' for site, mode in hit.items())}"):
            for site, mode in hit.items():
                world.fault(site, mode, **FAULTS[mode])
            ill = asyncio.run(_run(world, tenant, admin, ids, world.sizes.rounds))
    finally:
        for site in hit:
            world.fault(site, "ok")
    with step("healthy again"):
        again = asyncio.run(_run(world, tenant, admin, ids, world.sizes.rounds))
    for kind in ("list", "show", "write"):
        well = dataclasses.replace(healthy, seconds={kind: healthy.seconds[kind] + again.seconds[kind]})
        yield from latencies(f"{kind}, all sites healthy", well.seconds[kind])
        yield from latencies(f"{kind}, three of {len(world.sites)} sites ill", ill.seconds[kind])
        if kind == "list":
            yield Figure("list, three sites ill: the longest", max(ill.seconds[kind]) * 1000, "ms", DEADLINE * 1000)
        else:
            ratio = percentile(ill.seconds[kind], 99) / percentile(well.seconds[kind], 99)
            yield Figure(f"{kind} elsewhere: p99, ill to healthy", ratio, "x", 1.2)
    yield Figure("requests failed, ill", ill.failed.total(), "", 0)


async def _run(world: World, tenant: User, admin: User, ids: list[str], rounds: int) -> Tally:
    async with Crowd(world.url) as crowd:
        work = [_request(crowd, tenant, admin, ids[n % len(ids)], n) for n in range(rounds)]
        await at_once(AT_ONCE, work, Progress("requests", rounds))
    return crowd.tally


def _request(crowd: Crowd, tenant: User, admin: User, ident: str, n: int) -> Callable[[], Awaitable[object]]:
    server = f"/compute/v2.1/servers/{ident}"
    if n % ONE_IN == 0:
        return lambda: crowd.ask("list", admin, "GET", f"{ALL}&limit=100")
    if n % 2:
        return lambda: crowd.ask("show", tenant, "GET", server)
    return lambda: crowd.ask("write", tenant, "POST", f"{server}/metadata", {"metadata": {"bench": str(n)}})
