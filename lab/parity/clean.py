"""Remove what a run left behind, told by how its names begin.

First through the side itself, then (for Cascade) at the hub and at every site, where something may have outlived what it
belonged to. Every run has a prefix of its own. Tempest's dynamic projects and users ignore it and always begin with
``tempest``, so for these the run's own log tells the names: this never touches another run that is at work.
"""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException

from lab.data import HUB, SITES
from lab.parity.sides import CASCADE, SIDES, connect
from lab.paths import State
from lab.report import LabError, console, say


@dataclass(frozen=True)
class Kind:
    """How to list and delete a kind of resource with openstacksdk."""

    proxy: str
    noun: str
    query: dict[str, Any] = field(default_factory=dict)
    delete: dict[str, Any] = field(default_factory=dict)
    plural: str = ""
    owned: bool = True
    """Belongs to a project."""

    @property
    def listing(self) -> str:
        """The method that lists."""
        return self.plural or f"{self.noun}s"


ALL = {"all_projects": True}
ADMIN = {"all_tenants": True}
ROUTER_PORT = "network:router_interface"

KINDS = (
    # In an order in which nothing stands in the way of what comes later.
    Kind("compute", "server", ALL, {"force": True}),
    Kind("compute", "server_group", ALL),
    Kind("compute", "aggregate", owned=False),
    Kind("block_storage", "backup", ADMIN, {"force": True}),
    Kind("block_storage", "group_snapshot", ADMIN),
    Kind("block_storage", "snapshot", ADMIN, {"force": True}),
    Kind("block_storage", "volume", ADMIN, {"force": True}),
    Kind("block_storage", "group", ADMIN),
    Kind("block_storage", "type", owned=False),
    Kind("block_storage", "group_type", owned=False),
    Kind("image", "image"),
    Kind("network", "ip", plural="ips"),
    Kind("network", "trunk"),
    Kind("network", "router"),
    Kind("network", "port"),
    Kind("network", "network"),
    Kind("network", "subnet_pool"),
    Kind("network", "address_scope"),
    Kind("network", "security_group"),
    Kind("network", "address_group"),
    Kind("network", "qos_policy", plural="qos_policies"),
    Kind("compute", "flavor", {"is_public": None}, owned=False),
    Kind("identity", "user", owned=False),
    Kind("identity", "group", owned=False),
    Kind("identity", "project", owned=False),
    Kind("identity", "role", owned=False),
    Kind("identity", "service", owned=False),
    Kind("identity", "region", owned=False),
    Kind("identity", "domain", owned=False),
)


_DYNAMIC = re.compile(r"\btempest-\w+-\d{6,}")
_RENAMED = "updated name"
"""openstacksdk's test of domains renames them so, and then looks for the old names to delete them: its next run finds them."""
_DELETED = re.compile(r" 204 DELETE \S+/v3/(?:projects|users)/([0-9a-f]{32})\b")
"""An account that the run deleted itself. A site knows it by this id, and may not have noticed."""


def beginnings(prefix: str, log: Iterable[str]) -> tuple[str, ...]:
    """How the names of what a run made begin: with its prefix, as a dynamic account in its log, or as the id of one."""
    if not prefix:
        raise LabError("a run without a prefix: everything would be its")
    return tuple(
        sorted({prefix, _RENAMED, *(name for line in log for kind in (_DYNAMIC, _DELETED) for name in kind.findall(line))})
    )


def side(place: State, name: str, starts: tuple[str, ...]) -> bool:
    """Clean up behind a run on a side; whether every cloud that has to do with it could be asked."""
    places = [SIDES[name].account]
    if name == CASCADE:
        places += [f"{HUB.name}-admin", *(f"{site}-admin" for site in SITES if place.cloud(SITES[site]).run.exists())]
    known: set[str] = set()
    complete = True
    for account in places:
        connection = connect(place, account)
        try:
            connection.authorize()
        except (SDKException, ClientException) as error:
            complete = False
            say(f"{account} does not answer, nothing is cleaned up there: {error}"[:200])
            continue
        if found := cloud(connection, starts, known):
            say(f"{account}: removed what was left behind: {', '.join(found)}")
    return complete


def cloud(connection: Any, starts: tuple[str, ...], known: set[str]) -> list[str]:
    """Clean up at one cloud; what was found, as text.

    ``known`` gathers the ids of the run's projects and users: a site names these after the hub's ids.
    """
    names = {item.id: item.name for kind in ("projects", "users") for item in _all(connection, "identity", kind, {})}
    starts = (*starts, *known)
    known |= {ident for ident, title in names.items() if title.startswith(starts)}
    owners = {ident for ident, title in names.items() if ident in known or title in known}
    found = []
    for kind in KINDS:
        items = [
            item
            for item in _all(connection, kind.proxy, kind.listing, kind.query)
            if leftover(starts, owners, item.name, item.project_id if kind.owned and "project_id" in item else None)
        ]
        for item in items:
            _delete(connection, kind, item)
        if items:
            found.append(f"{len(items)} {kind.noun}")
    if hosts := _take_back_hosts(connection):
        found.append(f"{hosts} host out of use")
    return found


def _take_back_hosts(connection: Any) -> int:
    """Upstream's serial tests disable all hosts but two, give no reason, and never enable them again."""
    off = [
        service
        for service in _all(connection, "compute", "services", {"binary": "nova-compute"})
        if service.status == "disabled" and not service.disabled_reason
    ]
    for service in off:
        connection.compute.enable_service(service, host=service.host, binary=service.binary)
    return len(off)


def leftover(starts: tuple[str, ...], owners: Collection[str], name: str | None, project: str | None) -> bool:
    """Whether something is the run's: by its name, or by its project's."""
    return (name or "").startswith(starts) or project in owners


def _all(connection: Any, proxy: str, listing: str, query: dict[str, Any]) -> list[Any]:
    try:
        return list(getattr(getattr(connection, proxy), listing)(**query))
    except (SDKException, ClientException) as error:
        console.print(f"{connection.config.name}: {listing}: {error}"[:300], markup=False, style="yellow")
        return []


def _delete(connection: Any, kind: Kind, item: Any) -> None:
    """Delete one thing; what cannot be deleted is told, and left."""
    try:
        if kind.noun == "router":
            for port in connection.network.ports(device_id=item.id, device_owner=ROUTER_PORT):
                connection.network.remove_interface_from_router(item.id, port_id=port.id)
        if kind.noun == "domain":
            connection.identity.update_domain(item, is_enabled=False)
        getattr(getattr(connection, kind.proxy), f"delete_{kind.noun}")(item, ignore_missing=True, **kind.delete)
        if kind.noun in ("server", "volume"):
            getattr(connection, kind.proxy).wait_for_delete(item, interval=1, wait=60)
    except (SDKException, ClientException) as error:
        console.print(f"{connection.config.name}: {kind.noun} {item.id}: {error}"[:300], markup=False, style="yellow")
