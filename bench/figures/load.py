"""The mixed load: what a cloud's users do, many at once, and whether all of it was done once."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from bench.client import Client, User
from bench.clients import Crowd, Wish, at_once, settled
from bench.progress import Progress
from bench.report import Figure, latencies
from bench.tenants import Tenant, count, furnished, image
from bench.world import World
from lab.report import LabError, say, step

MIX = {"list": 4, "show": 3, "boot": 1, "delete": 1, "volume": 1}
"""Of ten requests."""
EACH, TENANTS, PROCESSES, WAIT = 2, 50, (1, 2), 300.0
"""Requests per place in the queue; tenants; gateway processes; seconds for all to be done after the last answer."""
SEEDED = "server-"


@dataclass
class Session:
    """A tenant in the load. ``victims``: his servers that are to be deleted; ``shown``: that are not."""

    tenant: Tenant
    victims: list[str]
    shown: list[str]


@dataclass
class Run:
    """What was asked for: to be there, to be gone."""

    crowd: Crowd
    sessions: list[Session]
    image: str
    name: str
    random: random.Random
    wishes: list[Wish] = field(default_factory=list)
    booted: int = 0

    async def request(self, kind: str) -> None:
        """One of the mix, by some tenant."""
        session = self.random.choice(self.sessions)
        user, servers = session.tenant.user, "/compute/v2.1/servers"
        if kind == "list":
            await self.crowd.ask(kind, user, "GET", f"{servers}/detail?limit=50")
        elif kind == "show":
            await self.crowd.ask(kind, user, "GET", f"{servers}/{self.random.choice(session.shown)}")
        elif kind == "boot":
            self.booted += 1
            wish = session.tenant.server(f"{self.name}-{self.booted}", self.image)
            if made := await self.crowd.ask(kind, user, "POST", servers, wish):
                self.wishes.append(Wish(f"{servers}/{made['server']['id']}", user, "ACTIVE"))
        elif kind == "delete":
            path = f"{servers}/{session.victims.pop()}"
            if await self.crowd.ask(kind, user, "DELETE", path) is not None:
                self.wishes.append(Wish(path, user, ""))
        else:
            wish = {"volume": {"size": 1, "name": self.name}}
            if made := await self.crowd.ask(kind, user, "POST", "/volume/v3/volumes", wish):
                self.wishes.append(Wish(f"/volume/v3/volumes/{made['volume']['id']}", user, "available"))


def load(world: World) -> Iterator[Figure]:
    """Mixed load (40 % list, 30 % show, 10 % boot, 10 % delete, 10 % volume) at once, with 1 and 2 gateway processes."""
    admin = world.admin()
    outside = admin.get("/network/v2.0/networks?router:external=true")["networks"][0]["id"]
    with step("tenants, each with network, router and security group"):
        tenants = [furnished(world, n, outside) for n in range(min(TENANTS, count(world)))]
        bits = image(admin, "bench-load")
    with step("their first boots"):
        asyncio.run(first_boots(world, tenants, bits))
    rates: dict[tuple[int, int], float] = {}
    for processes in (world.sizes.processes,) if world.sizes.processes else PROCESSES:
        world.serve(processes)
        world.settle()
        for many in world.sizes.load:
            name = f"load, {many} at once, {processes} process{'es' if processes > 1 else ''}"
            with step(name):
                kinds = [kind for kind, part in MIX.items() for _ in range(many * EACH * part // 10)]
                sessions = [session(t, 2 * many * EACH // 10 // len(tenants) + 10) for t in tenants]
                cpu, below, began = world.cpu(), world.database.cpu(), time.monotonic()
                run = asyncio.run(_run(world, Run(Crowd(world.url), sessions, bits, f"load-{processes}-{many}", random.Random(7)),
                                       kinds, many))  # fmt: skip
                took, used, below = time.monotonic() - began, world.cpu() - cpu, world.database.cpu() - below
            rates[processes, many] = len(kinds) / took
            with step("all is done"):
                undone = asyncio.run(settled(world.url, run.wishes, WAIT))
                doubled = _doubled(world, f"{run.name}-", len([w for w in run.wishes if w.status == "ACTIVE"]))
            yield from _figures(name, run, len(undone) + doubled)
            yield Figure(f"{name}: requests per second", rates[processes, many], "1/s")
            yield Figure(f"{name}: CPU per request", used / len(kinds) * 1000, "ms")
            if below:
                yield Figure(f"{name}: CPU per request of the database", below / len(kinds) * 1000, "ms")
            yield Figure(f"{name}: memory of a process", world.memory() / 2**20, "MiB")
    for many in () if world.sizes.processes else world.sizes.load:
        yield Figure(f"load, {many} at once: throughput of 2 processes to 1", rates[2, many] / rates[1, many], "x")
    world.serve()


async def first_boots(world: World, tenants: list[Tenant], bits: str) -> None:
    """Network, router, group and image are at the tenants' sites before anything is measured: ``boots`` measures that."""
    path = "/compute/v2.1/servers"
    async with Crowd(world.url) as crowd:
        wishes = [Wish(f"{path}/{made['server']['id']}", t.user, "ACTIVE") for t in tenants
                  if (made := await crowd.ask("boot", t.user, "POST", path, t.server("first", bits)))]  # fmt: skip
    if len(wishes) < len(tenants) or await settled(world.url, wishes, WAIT):
        raise LabError(f"the tenants' first boots did not end well: {dict(crowd.tally.failed)}")


def _figures(name: str, run: Run, lost: int) -> Iterator[Figure]:
    tally = run.crowd.tally
    for said, times in tally.failed.most_common(5):
        say(f"failed {times} times: {said}")
    yield Figure(f"{name}: failed requests", tally.failed.total(), "", 0)
    yield Figure(f"{name}: things lost, doubled or not done", lost, "", 0)
    yield Figure(f"{name}: answers that said later", tally.deferred, "")
    if tally.seconds:
        yield from latencies(name, tally.every(), (50, 95, 99))


def session(tenant: Tenant, victims: int) -> Session:
    ids = [s["id"] for s in tenant.user.get("/compute/v2.1/servers?limit=1000")["servers"] if s["name"].startswith(SEEDED)]
    ids.sort(key=lambda ident: int(ident[-12:], 16), reverse=True)
    return Session(tenant, ids[: min(victims, len(ids) // 2)], ids[len(ids) // 2 :])


async def _run(world: World, run: Run, kinds: list[str], many: int) -> Run:
    run.random.shuffle(kinds)
    async with run.crowd:
        await at_once(many, [lambda kind=kind: run.request(kind) for kind in kinds], Progress("requests", len(kinds)))  # type: ignore[misc]
    return run


def _doubled(world: World, prefix: str, wanted: int) -> int:
    """By how many the sites' own lists differ from one server for each that was accepted."""
    names: Counter[str] = Counter()
    path = "/compute/v2.1/servers?all_tenants=1&limit=1000"
    headers = User(world.root, "admin", "admin").headers(path)
    for site in world.sites:
        client, marker = Client(world.at(site)), ""
        while True:
            answer = client.ask("GET", f"{path}{marker}", headers)
            rows = json.loads(answer.body)["servers"]
            names.update(r["name"] for r in rows if r["name"].startswith(prefix))
            if not rows or rows[-1]["name"].startswith(SEEDED):  # the seeded ones are older
                break
            marker = f"&marker={rows[-1]['id']}"
    return sum(n - 1 for n in names.values()) + abs(len(names) - wanted)
