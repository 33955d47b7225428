"""One server shown: what passes through, against a proxy that knows nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from bench.client import Client
from bench.nginx import proxy
from bench.report import Figure, latencies, percentile
from bench.world import World
from lab.report import LabError

BLOCK = 100
"""Requests to one of them before it is the other's turn: both see the same machine."""


def show(world: World) -> Iterator[Figure]:
    """`GET /servers/{id}`, token cached and site known: CPU against nginx before the same site, time added to the site's own."""
    tenant = world.tenant(0)
    ident, site = _one(world)
    path = f"/compute/v2.1/servers/{ident}"
    headers = tenant.headers(path)
    with proxy(world.at(site).removeprefix("http://"), world.folder / "nginx") as (nginx, url):
        ways: dict[str, tuple[Client, Callable[[], float]]] = {
            "direct": (Client(world.at(site)), lambda: 0.0),
            "nginx": (Client(url), nginx.cpu),
            "cascade": (Client(world.url), world.cpu),
        }
        times: dict[str, list[float]] = {way: [] for way in ways}
        cpu = dict.fromkeys(ways, 0.0)
        for client, _ in ways.values():
            _ask(client, path, headers)
        rounds = max(1, world.sizes.rounds // BLOCK)
        for _ in range(rounds):
            for way, (client, used) in ways.items():
                before = used()
                times[way] += [_ask(client, path, headers) for _ in range(BLOCK)]
                cpu[way] += used() - before
    asked = rounds * BLOCK
    yield Figure("show of a server: CPU of Cascade", cpu["cascade"] / asked * 1000, "ms")
    yield Figure("show of a server: CPU of nginx", cpu["nginx"] / asked * 1000, "ms")
    if cpu["nginx"]:
        yield Figure("show of a server: CPU, Cascade to nginx", cpu["cascade"] / cpu["nginx"], "x", 12)
    for way in ways:
        yield from latencies(f"show of a server, {way}", times[way])
    for percent, limit in ((50, 1.0), (99, 5.0)):
        added = percentile(times["cascade"], percent) - percentile(times["direct"], percent)
        yield Figure(f"show of a server: added by Cascade, p{percent}", added * 1000, "ms", limit)


def _one(world: World) -> tuple[str, str]:
    """A server of tenant 0, and the site that has it."""
    row = world.tenant(0).get("/compute/v2.1/servers/detail?limit=1")["servers"][0]
    return row["id"], row["OS-EXT-AZ:availability_zone"]


def _ask(client: Client, path: str, headers: dict[str, str]) -> float:
    began = time.perf_counter()
    answer = client.ask("GET", path, headers)
    took = time.perf_counter() - began
    if answer.status != 200:
        raise LabError(f"GET {path}: {answer.status} {answer.body[:300]!r}")
    return took
