"""The compute hosts of a site, its zones, and what runs there. A hub has none."""

from __future__ import annotations

import hashlib
import uuid

from sim.population import Population
from sim.world import Cloud, Row

DEFAULT_ZONE = "nova"
COMPUTES = 2


def _uuid(cloud: Cloud, *what: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_DNS, "/".join((cloud.name, *what))))


def hosts(cloud: Cloud) -> list[Row]:
    """The hypervisors."""
    if cloud.hub:
        return []
    return [
        {"id": n, "host": f"{cloud.name}-cmp{n}", "uuid": _uuid(cloud, "hypervisor", str(n)), "vcpus": 1000, "memory_mb": 800000,
         "local_gb": 600000, "service_id": n + 3, "service_uuid": _uuid(cloud, "compute", str(n))}
        for n in range(1, COMPUTES + 1)
    ]  # fmt: skip


def services(cloud: Cloud) -> list[Row]:
    """Nova's services."""
    if cloud.hub:
        return []
    disabled = cloud["disabled_services"]
    control = f"{cloud.name}-ctl"
    rows = [(2, "nova-conductor", control, "internal"), (3, "nova-scheduler", control, "internal")]
    rows += [(h["service_id"], "nova-compute", h["host"], zone_of(cloud, h["host"])) for h in hosts(cloud)]
    return [
        {"id": n, "uuid": _uuid(cloud, "compute", str(n - 3)) if b == "nova-compute" else _uuid(cloud, b), "binary": b, "host": h,
         "zone": z, "disabled_reason": disabled.get(h, {}).get("reason") if b == "nova-compute" else None,
         "status": "disabled" if b == "nova-compute" and h in disabled else "enabled"}
        for n, b, h, z in rows
    ]  # fmt: skip


def zone_of(cloud: Cloud, host: str) -> str:
    """The availability zone of a host: its aggregate's, else the default."""
    for a in cloud["aggregates"].values():
        if host in a["hosts"] and a["metadata"].get("availability_zone"):
            return str(a["metadata"]["availability_zone"])
    return DEFAULT_ZONE


def zones(cloud: Cloud) -> dict[str, list[str]]:
    """Zone -> hosts."""
    found: dict[str, list[str]] = {}
    for h in hosts(cloud):
        found.setdefault(zone_of(cloud, h["host"]), []).append(h["host"])
    return found


def place(cloud: Cloud, zone: str | None, besides: str | None = None) -> str | None:
    """A host for a server: in a zone, or anywhere; none that is disabled, nor ``besides``."""
    off = cloud["disabled_services"]
    names = zones(cloud).get(zone, []) if zone else [h["host"] for h in hosts(cloud)]
    return min((n for n in names if n not in off and n != besides), key=lambda n: usage(cloud, n)["servers"], default=None)


def host_id(project: str, host: str | None) -> str:
    """Nova's hostId: says that two servers share a host, not which."""
    return hashlib.sha224((project + host).encode()).hexdigest() if host else ""


def usage(cloud: Cloud, host: str) -> dict[str, int]:
    """What servers use of a host."""
    table = cloud["servers"]
    there = table.kept() if isinstance(table, Population) else table.values()  # a population sits on hosts of its own
    rows = [s for s in there if s["host"] == host and not s["deleted"]]
    used = {k: sum(int(s["flavor"][k]) for s in rows) for k in ("vcpus", "ram", "disk")}
    return {**used, "servers": len(rows)}
