"""Users go on while several sites misbehave in several ways: in the end nothing is lost, doubled or orphaned."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator

from bench.client import Client, User
from bench.clients import Crowd, at_once
from bench.figures.load import MIX, Run, first_boots, session
from bench.progress import Progress
from bench.report import Figure, latencies
from bench.tenants import count, furnished, image
from bench.world import World
from lab.report import LabError, say, step

FAULTS = (
    ("slow:seconds=~0.3,rate=0.3", "skew:seconds=300"),
    ("503:rate=0.1", "429:seconds=1,rate=0.05"),
    ("cut:rate=0.05", "reset:rate=0.05"),
    ("504:rate=0.05", "trickle:seconds=0.5,rate=0.1", "wrong-json:rate=0.05,method=GET"),
    ("500:rate=0.05", "twice:rate=0.1,method=GET/PUT/DELETE", "down:rate=0.05"),
)
"""Of a site each."""
SEED, AT_ONCE, WAIT, LOOK = 7, 20, 240.0, 2.0
"""Of draws and of the order; requests at once; seconds for all to be right once the sites are well; between two looks."""


def faults(world: World) -> Iterator[Figure]:
    """Mixed requests while five sites misbehave, each in its way and by a seed: nothing is lost, doubled or orphaned."""
    if len(world.sites) < len(FAULTS):
        raise LabError(f"takes {len(FAULTS)} sites")
    admin = world.admin()
    outside = admin.get("/network/v2.0/networks?router:external=true")["networks"][0]["id"]
    with step("tenants, each with network, router and security group"):
        tenants = [furnished(world, n, outside) for n in range(min(5 * len(FAULTS), count(world)))]
        bits = image(admin, "bench-faults")
        asyncio.run(first_boots(world, tenants, bits))
    many = max(100, world.sizes.rounds // 4)
    kinds = [kind for kind, part in MIX.items() for _ in range(many * part // 10)]
    sessions = [session(t, many // len(tenants) + 10) for t in tenants]
    run = Run(Crowd(world.url), sessions, bits, "faults", random.Random(SEED))
    run.random.shuffle(kinds)
    try:
        for site, ways in zip(world.sites, FAULTS, strict=False):
            world.control("faults", {"cloud": site, "faults": list(ways), "seed": SEED})
        with step(f"{many} requests while {len(FAULTS)} of {len(world.sites)} sites misbehave"):
            asyncio.run(_ask(run, kinds))
    finally:
        world.control("faults", {"mode": "ok"})
    for said, times in run.crowd.tally.failed.most_common(5):
        say(f"refused {times} times: {said}")
    with step("all is right"):
        wrong, took = _until_right(world, run, [t.user for t in tenants])
    name = f"faults in {len(FAULTS)} sites, {many} requests"
    yield Figure(f"{name}: refused", run.crowd.tally.failed.total(), "")
    yield Figure(f"{name}: answers that said later", run.crowd.tally.deferred, "")
    yield from latencies(f"{name}: answered", run.crowd.tally.every(), (50, 99))
    yield Figure(f"{name}: all was right after the sites were well", took, "s")
    for what in ("lost", "doubled", "orphaned", "unfinished"):
        yield Figure(f"{name}: {what}", wrong[what], "", 0)


async def _ask(run: Run, kinds: list[str]) -> None:
    async with run.crowd:
        work = [lambda kind=kind: run.request(kind) for kind in kinds]
        await at_once(AT_ONCE, work, Progress("requests", len(kinds)))


def _until_right(world: World, run: Run, users: list[User]) -> tuple[Counter[str], float]:
    began = time.monotonic()
    while True:
        wrong = _wrong(world, run, users)
        took = time.monotonic() - began
        if not wrong or took > WAIT:
            return wrong, took
        time.sleep(LOOK)


def _wrong(world: World, run: Run, users: list[User]) -> Counter[str]:
    """The users' lists and the sites' own, by name: each server is at one site, each volume is there as often as it is known."""
    wrong: Counter[str] = Counter()
    south = {
        kind: _south(world, path, run.name)
        for kind, path in (("server", "/compute/v2.1/servers"), ("volume", "/volume/v3/volumes"))
    }
    north: dict[str, Counter[str]] = {"server": Counter(), "volume": Counter()}
    known: dict[str, str] = {}
    for user in users:
        for server in user.get("/compute/v2.1/servers/detail?limit=1000")["servers"]:
            known[server["id"]] = server["status"]
            if server["name"].startswith(run.name) and not (server["status"] == "ERROR" and server["name"] not in south["server"]):
                north["server"][server["name"]] += 1
        for volume in user.get("/volume/v3/volumes/detail?limit=1000")["volumes"]:
            known[volume["id"]] = volume["status"]
            north["volume"][volume["name"]] += volume["name"] == run.name
    wrong += compared(north["server"], south["server"], once=True) + compared(north["volume"], south["volume"], once=False)
    for wish in run.wishes:
        ident = wish.path.rpartition("/")[2]
        if wish.status and ident not in known:
            wrong["lost"] += 1
        elif known.get(ident, "") not in ((wish.status, "ERROR", "error") if wish.status else ("",)):
            wrong["unfinished"] += 1
    return +wrong


def compared(known: Counter[str], there: Counter[str], *, once: bool) -> Counter[str]:
    """What the users know of against what the sites have, by name. ``once``: no two may have the same."""
    doubled = sum(n - 1 for n in there.values()) if once else 0
    more = Counter(dict.fromkeys(there, 1)) if once else there
    return Counter(doubled=doubled, orphaned=(more - known).total(), lost=(known - more).total())


def _south(world: World, path: str, prefix: str) -> Counter[str]:
    """Name -> how often, in the sites' own lists."""
    names: Counter[str] = Counter()
    headers = User(world.root, "admin", "admin").headers(path)
    for site in world.sites:
        answer = Client(world.at(site)).ask("GET", f"{path}?all_tenants=1&limit=1000", headers)
        rows = next(v for k, v in json.loads(answer.body).items() if not k.endswith("_links"))
        names.update(r["name"] for r in rows if r["name"].startswith(prefix))  # the newest come first: all of ours
    return names
