"""What many tenants had before the simulator began: accounts and images at the hub, servers and volumes at sites, ports at both."""

from __future__ import annotations

from datetime import UTC, datetime

from sim import glance, seed_networks
from sim.cinder_rows import SNAPSHOT, new
from sim.computed import uuid_of
from sim.faults import Refused
from sim.hosts import DEFAULT_ZONE
from sim.keystone_directory import grant, made
from sim.nova import gone
from sim.population import Population, shares, tenant
from sim.population_ports import layout
from sim.population_volumes import Attachments, Volumes
from sim.world import Cloud, World

NEWEST = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
"""When the newest server of a population was made."""
BASES, BITS = 3, bytes(1024)
"""Public images that all servers are of; the bits of each."""
STAMP = "cascade_image:"
"""Before the hub's id, as a tag: the site's image is a copy that a gateway has made."""
_IMAGE = "1a9e"
"""In the ids of images."""


def plant(world: World, cloud: Cloud, password: str) -> None:
    """At the hub the tenants and images, at a site servers and volumes, at both the networks and ports of the servers.

    Sites with a Keystone of their own know no such tenant.
    """
    sites, options = len(world.clouds) - 1, world.options
    share = shares(sites, options.tenants)
    if cloud.hub or cloud.keystone is not None:
        names = tuple((c.number, c.name) for c in world.clouds.values() if c.keystone is not None)
        where = layout(names, sites, options.tenants, options.servers)
        seed_networks.plant(cloud, where, _project(cloud, "service"), NEWEST)
    if cloud.hub:
        tenants = [tenant(n) for n in sorted({n for of_site in share.values() for n in of_site})]
        _accounts(cloud, tenants, password)
        for n, name in enumerate(bases()):
            _image(cloud, name, f"base-{n}", _project(cloud, "admin"), "public")
        for n, (name, project_id, _) in enumerate(tenants):
            _image(cloud, uuid_of(_IMAGE, 1, 2 * n), f"{name}-golden", project_id, "private")
            _image(cloud, uuid_of(_IMAGE, 1, 2 * n + 1), f"{name}-backup", project_id, "private", image_type="snapshot")
    elif cloud.keystone is not None:
        _things(cloud, world.options.servers, [tenant(n)[1:] for n in share[cloud.number]])


def bases() -> list[str]:
    """The ids of the images all servers are of: a copy at a site has the hub's."""
    return [uuid_of(_IMAGE, 0, n) for n in range(BASES)]


def _project(cloud: Cloud, name: str) -> str:
    return next(str(p["id"]) for p in cloud.identity["projects"].values() if p["name"] == name)


def _accounts(cloud: Cloud, tenants: list[tuple[str, str, str]], password: str) -> None:
    member = next(r["id"] for r in cloud["roles"].values() if r["name"] == "member")
    for name, project_id, user in tenants:
        made(cloud, "projects", id=project_id, name=name, domain_id="default", parent_id="default")
        made(cloud, "users", id=user, name=name, domain_id="default", password=password, default_project_id=project_id)
        grant(cloud, "project", project_id, user, member)


def _image(cloud: Cloud, ident: str, name: str, owner: str, visibility: str, **more: object) -> None:
    wish = {"id": ident, "name": name, "disk_format": "raw", "container_format": "bare", "visibility": visibility, **more}
    row = glance.make(cloud, owner, **wish)
    glance.activate(cloud, row, BITS)
    row["created_at"] = row["updated_at"] = NEWEST


def _things(cloud: Cloud, count: int, owners: list[tuple[str, str]]) -> None:
    """Servers of copied images, volumes, and of each tenant's newest volume that is free a snapshot."""
    for n, ident in enumerate(bases()):
        members = {p: {"status": "accepted", "created_at": NEWEST, "updated_at": NEWEST} for p, _ in owners}
        _image(cloud, ident, f"base-{n}", _project(cloud, "service"), "shared", tags=[STAMP + ident], members=members)
    spec, kind = next(iter(cloud["flavors"].values())), next(iter(cloud["volume_types"]))
    servers = Population(cloud.number, count, owners, DEFAULT_ZONE, spec, NEWEST, bases())
    volumes = Volumes(cloud.number, count, owners, kind, f"{cloud.name}-ctl@lab#lab", NEWEST)
    cloud.tables |= {"servers": servers, "volumes": volumes, "attachments": Attachments(volumes, servers)}
    for project, user in owners:
        volume = next((v for v in volumes.of(project) if v["status"] == "available"), None)
        if volume is not None:
            new(cloud, SNAPSHOT, project, user, name=f"of-{volume['name']}", description=None, volume_id=volume["id"],
                status="available", size=volume["size"], metadata={}, type_id=kind, group_snapshot_id=None)  # fmt: skip


def vanish(cloud: Cloud, count: int) -> None:
    """So many of a site's servers, the oldest, are deleted by an operator there. Raises Refused 400 where it has not so many."""
    table = cloud["servers"]
    if not isinstance(table, Population) or count > table.count:
        raise Refused(400, f"{cloud.name} has no {count} such servers")
    for number in range(table.count - count, table.count):
        gone(cloud, table[table.ident(number)])
