"""Lists over sites: one page, all pages, and the page of a tenant who is in few of them."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openstack

from bench.client import User
from bench.progress import Progress
from bench.report import Figure, latencies
from bench.world import World
from bench.world import world as make_world
from lab.data import PASSWORD
from lab.report import LabError, step

PAGE, PAGES, FEW = 1000, 20, 10_000
"""Rows of a page; pages measured; servers of the small cloud."""
ALL = "/compute/v2.1/servers/detail?all_tenants=1"
THREADS, ROWS, NOVA_LIST = 16, 20, 0.05
"""Of who asks all clouds at once; servers on the page he looks at; seconds a real Nova takes for that (the lab's: 53 ms)."""


def page(world: World) -> Iterator[Figure]:
    """An administrator's page of 1,000 servers over all sites; the same page where there are 10,000 servers in all."""
    path = f"{ALL}&limit={PAGE}"
    small = dataclasses.replace(world.sizes, servers=max(1, FEW // world.sizes.sites))
    with make_world(small, world.folder / "few") as few:
        few.index()
        few.settle()
        places = [(world, world.admin()), (few, few.admin())]
        for _, admin in places:
            if len(admin.get(path)["servers"]) != PAGE:
                raise LabError(f"the page has not {PAGE} servers")
        cpu, times, calls = [0.0, 0.0], ([], []), 0  # type: tuple[list[float], tuple[list[float], list[float]], int]
        below = world.database.cpu()
        for _ in range(PAGES):  # in turn, so that both see the same machine
            for n, (place, admin) in enumerate(places):
                before, asked = place.cpu(), sum(place.calls().values())
                times[n].append(admin.timed(path)[1])
                cpu[n] += place.cpu() - before
                calls += 0 if n else sum(place.calls().values()) - asked
        below = world.database.cpu() - below
    name = f"page of {PAGE} over {len(world.sites)} sites"
    yield Figure(f"{name}: CPU", cpu[0] / PAGES * 1000, "ms", 60)
    if below:
        yield Figure(f"{name}: CPU of the database", below / PAGES * 1000, "ms")
    yield from latencies(name, times[0], (50, 95))
    yield Figure(f"{name}: calls", calls / PAGES, "")
    yield Figure(f"{name}: CPU, of {world.sizes.sites * world.sizes.servers} servers to {small.sites * small.servers}",
                 cpu[0] / cpu[1] if cpu[1] else 0.0, "x", 1.2)  # fmt: skip


class Seen:
    """The servers of a walk: each once, and in Nova's order as far as it is one over sites."""

    def __init__(self, sites: int, servers: int) -> None:
        self._marks = [bytearray(servers) for _ in range(sites)]
        self._last, self._made = [-1] * sites, ""
        self.total = self.twice = self.disordered = 0

    def add(self, rows: Iterable[dict[str, Any]]) -> None:
        """A page. The name of a seeded server is ``server-SITE-NUMBER``, its number its place in the site."""
        for row in rows:
            site, number = (int(part) for part in row["name"].removeprefix("server-").split("-"))
            self.total += 1
            self.twice += self._marks[site - 1][number]
            self._marks[site - 1][number] = 1
            self.disordered += number <= self._last[site - 1] or (self._made != "" and row["created"] > self._made)
            self._last[site - 1], self._made = number, row["created"]

    def missing(self, but: int = 0) -> int:
        """How many were not there, of all sites but that number."""
        return sum(marks.count(0) for n, marks in enumerate(self._marks, 1) if n != but)


def _walk(world: World, admin: User, midway: Callable[[], None]) -> tuple[Seen, int]:
    seen, pages, marker = Seen(len(world.sites), world.sizes.servers), 0, ""
    total = len(world.sites) * world.sizes.servers // PAGE
    half, progress = total // 2, Progress("pages", total)
    while rows := admin.get(f"{ALL}&limit={PAGE}{marker}")["servers"]:
        seen.add(rows)
        pages, marker = pages + 1, f"&marker={rows[-1]['id']}"
        progress.at(pages)
        if pages == half:
            midway()
    return seen, pages


def volumes(world: World) -> Iterator[Figure]:
    """An administrator's page of 1,000 volumes over all sites, in Cinder's order."""
    path, admin, most = f"/volume/v3/volumes/detail?all_tenants=1&limit={PAGE}", world.admin(), min(PAGE, world.volumes)
    rows = admin.get(path)["volumes"]
    if len(rows) != most or rows != sorted(rows, key=lambda v: (v["created_at"], v["id"]), reverse=True):
        raise LabError(f"the page has not {most} volumes in order")
    cpu, asked, times = world.cpu(), sum(world.calls().values()), []
    for _ in range(PAGES):
        times.append(admin.timed(path)[1])
    name = f"page of {PAGE} volumes over {len(world.sites)} sites"
    yield Figure(f"{name}: CPU", (world.cpu() - cpu) / PAGES * 1000, "ms")
    yield from latencies(name, times, (50, 95))
    yield Figure(f"{name}: calls", (sum(world.calls().values()) - asked) / PAGES, "")


def walk(world: World) -> Iterator[Figure]:
    """All servers by markers, pages of 1,000: each once, in order; again with a site that dies midway."""
    admin, cpu, began = world.admin(), world.cpu(), time.monotonic()
    dying = len(world.sites) // 2 + 1
    with step("walk all servers"):
        seen, pages = _walk(world, admin, lambda: None)
    yield Figure(f"walk of {seen.total} servers", time.monotonic() - began, "s")
    yield Figure("walk: CPU of a page", (world.cpu() - cpu) / max(1, pages) * 1000, "ms")
    yield Figure("walk: servers missing, twice or out of order", seen.missing() + seen.twice + seen.disordered, "", 0)
    try:
        with step("walk them again while a site dies"):
            seen, _ = _walk(world, admin, lambda: world.fault(world.sites[dying - 1], "down"))
    finally:
        world.fault(world.sites[dying - 1], "ok")
    wrong = seen.missing(but=dying) + seen.twice + seen.disordered
    yield Figure("walk, a site dies midway: other sites' servers missing, any twice or out of order", wrong, "", 0)


def tenant(world: World) -> Iterator[Figure]:
    """A tenant's page, who is in two of the sites: calls, and time against openstacksdk asking every cloud."""
    user, path = world.tenant(0), "/compute/v2.1/servers/detail?limit=100"
    user.get(path)
    before = world.calls()
    times = [user.timed(path)[1] for _ in range(PAGES)]
    after = world.calls()
    asked = [(after[n] - before[n]) / PAGES for n in world.sites]
    yield Figure("tenant in 2 sites: sites asked per page", sum(n >= 1 for n in asked), "", 2)
    yield Figure("tenant in 2 sites: calls to sites per page, the background's in that time included", sum(asked), "")
    yield from latencies("tenant in 2 sites", times, (50, 95))
    with step(f"openstacksdk: connect to {len(world.sites)} clouds"):
        clouds = [_connect(world.root, user.name, name) for name in world.sites]
        ours = _connect(world.url, user.name, "cascade")
        most = len(_list(ours))
    through, in_turn, at_once = [], [], []
    with step("openstacksdk: list"), _as_slow_as_real(world), ThreadPoolExecutor(THREADS) as pool:
        for _ in range(5):
            through.append(_seconds(lambda: _same(most, [_list(ours)])))
            in_turn.append(_seconds(lambda: _same(most, map(_list, clouds))))
            at_once.append(_seconds(lambda: _same(most, pool.map(_list, clouds))))
    own = statistics.median(through)
    yield Figure("openstacksdk, through Cascade: p50", own * 1000, "ms")
    yield Figure(f"openstacksdk, {len(clouds)} clouds one after another: p50", statistics.median(in_turn) * 1000, "ms")
    yield Figure("one after another, to Cascade", statistics.median(in_turn) / own, "x", 0.3 * len(clouds), least=True)
    yield Figure(f"openstacksdk, {len(clouds)} clouds from {THREADS} threads: p50", statistics.median(at_once) * 1000, "ms")
    yield Figure(f"from {THREADS} threads, to Cascade", statistics.median(at_once) / own, "x", 1, least=True)


@contextlib.contextmanager
def _as_slow_as_real(world: World) -> Iterator[None]:
    """No site answers sooner than a real Nova does: who asks many of them waits for that, and not only for himself."""
    for name in world.sites:
        world.fault(name, "slow", seconds=NOVA_LIST)
    try:
        yield
    finally:
        for name in world.sites:
            world.fault(name, "ok")


def _connect(root: str, user: str, region: str) -> Any:
    """Logged in, and its Nova found: the first list is not what is measured."""
    conn = openstack.connect(
        load_yaml_config=False, load_envvars=False, auth_url=f"{root}/identity/v3", username=user, password=PASSWORD,
        project_name=user, user_domain_id="default", project_domain_id="default", region_name=region,
    )  # fmt: skip
    _list(conn)
    return conn


def _list(conn: Any) -> list[Any]:
    return list(conn.compute.servers(limit=ROWS, paginated=False))


def _seconds(work: Callable[[], None]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def _same(least: int, lists: Iterable[list[Any]]) -> None:
    """Whoever asks every cloud must find as much as Cascade shows."""
    if sum(map(len, lists)) < least:
        raise LabError("the clouds show less than Cascade")
