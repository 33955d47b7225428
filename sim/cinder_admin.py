"""Cinder: limits, quotas, zones, services, pools and what a client asks about the service itself."""

from __future__ import annotations

from sim.cinder_rows import (
    ATTACHMENT,
    BACKUP,
    GROUP,
    GROUP_SNAPSHOT,
    MESSAGE,
    SNAPSHOT,
    VOLUME,
    administrator,
    fetch,
    limits,
    quota_names,
    used,
)
from sim.faults import Refused
from sim.web import Answer, Call, forbid, invalid, route
from sim.world import Row, micro

_BACKENDS = ("lab", "lab2")
_ABSOLUTE = (
    ("maxTotalVolumes", "volumes"), ("maxTotalSnapshots", "snapshots"), ("maxTotalVolumeGigabytes", "gigabytes"),
    ("maxTotalBackups", "backups"), ("maxTotalBackupGigabytes", "backup_gigabytes"),
)  # fmt: skip
_USED = (
    ("totalVolumesUsed", "volumes"), ("totalGigabytesUsed", "gigabytes"), ("totalSnapshotsUsed", "snapshots"),
    ("totalBackupsUsed", "backups"), ("totalBackupGigabytesUsed", "backup_gigabytes"),
)  # fmt: skip


@route("volume", "GET", "/limits")
def absolute(call: Call) -> Row:
    project = call.who.project_id
    if call.who.admin and call.since(39):
        project = call.get("project_id") or project
    most, have = limits(call.cloud, project), used(call.cloud, project)
    doc = {name: most[key] for name, key in _ABSOLUTE} | {name: have[key] for name, key in _USED}
    return {"limits": {"rate": [], "absolute": doc}}


def _project(call: Call, project: str, rule: str) -> str:
    if project != call.who.project_id:
        administrator(call, f"volume_extension:quotas:{rule}")
    return project


@route("volume", "GET", "/os-quota-sets/{project}")
def quota(call: Call, project: str) -> Row:
    most = limits(call.cloud, _project(call, project, "show"))
    if call.flag("usage"):
        have = used(call.cloud, project)
        return {"quota_set": {**{k: {"limit": n, "in_use": have[k], "reserved": 0} for k, n in most.items()}, "id": project}}
    return {"quota_set": {**most, "id": project}}


@route("volume", "GET", "/os-quota-sets/{project}/defaults")
def quota_defaults(call: Call, project: str) -> Row:
    return {"quota_set": {**quota_names(call.cloud), "id": _project(call, project, "show")}}


def _given(call: Call, key: str) -> dict[str, int]:
    known = quota_names(call.cloud)
    found = {}
    for name, value in call.body(key).items():
        if name in ("tenant_id", "id", "skip_validation"):
            continue
        if name not in known:
            raise Refused(400, f"Bad key(s) in quota set: {name}")
        if isinstance(value, bool) or not str(value).lstrip("-").isdigit() or int(value) < -1:
            raise Refused(400, invalid(name, value, "is less than the minimum of -1"))
        found[name] = int(value)
    return found


@route("volume", "PUT", "/os-quota-sets/{project}", "admin", "volume_extension:quotas:update")
def set_quota(call: Call, project: str) -> Row:
    call.cloud["volume_quotas"].setdefault(project, {}).update(_given(call, "quota_set"))
    return {"quota_set": limits(call.cloud, project)}


@route("volume", "DELETE", "/os-quota-sets/{project}", "admin", "volume_extension:quotas:delete")
def drop_quota(call: Call, project: str) -> Answer:
    call.cloud["volume_quotas"].pop(project, None)
    return Answer(200)


@route("volume", "GET", "/os-quota-class-sets/{name}", "admin", "volume_extension:quota_classes:get")
def quota_class(call: Call, name: str) -> Row:
    return {"quota_class_set": {**quota_names(call.cloud), "id": name}}


@route("volume", "PUT", "/os-quota-class-sets/{name}", "admin", "volume_extension:quota_classes:update")
def set_quota_class(call: Call, name: str) -> Row:
    call.cloud["volume_quota_classes"].setdefault(name, {}).update(_given(call, "quota_class_set"))
    return {"quota_class_set": quota_names(call.cloud)}


@route("volume", "GET", "/os-availability-zone")
def zones(call: Call) -> Row:
    found = [] if call.cloud.hub else [{"zoneName": "nova", "zoneState": {"available": True}}]
    return {"availabilityZoneInfo": found}


def _services(call: Call) -> list[Row]:
    cloud = call.cloud
    if cloud.hub:
        return []
    hosts = [("cinder-scheduler", f"{cloud.name}-ctl"), ("cinder-backup", f"{cloud.name}-ctl")]
    hosts += [("cinder-volume", f"{cloud.name}-ctl@{b}") for b in _BACKENDS]
    found = []
    for binary, host in hosts:
        off = cloud["cinder_off"].get(f"{binary}/{host}")
        row: Row = {
            "binary": binary, "host": host, "zone": "nova", "status": "disabled" if off else "enabled", "state": "up",
            "updated_at": micro(cloud.now()),
        }  # fmt: skip
        if binary == "cinder-volume" and call.since(49):
            row["backend_state"] = "up"
        if call.since(7):
            row["cluster"] = None
        row["disabled_reason"] = off["reason"] if off else None
        if binary == "cinder-volume":
            row |= {"replication_status": "disabled", "active_backend_id": None, "frozen": False}
        found.append(row)
    return found


@route("volume", "GET", "/os-services", "admin", "volume_extension:services:index")
def services(call: Call) -> Row:
    wanted = [(k, v) for k, v in call.query if k in ("binary", "host")]
    return {"services": [s for s in _services(call) if all(s[k] == v for k, v in wanted)]}


@route("volume", "PUT", "/os-services/{verb}", "admin", "volume_extension:services:update")
def switch(call: Call, verb: str) -> Row:
    given = call.doc if isinstance(call.doc, dict) else {}
    host, binary = given.get("host"), given.get("binary") or given.get("service")
    if not any((s["host"], s["binary"]) == (host, binary) for s in _services(call)):
        raise Refused(404, f"Service {binary} could not be found on host {host}.")
    key, off = f"{binary}/{host}", verb.startswith("disable")
    if off:
        call.cloud["cinder_off"][key] = {"reason": given.get("disabled_reason")}
    else:
        call.cloud["cinder_off"].pop(key, None)
    return {"host": host, "service": binary, "binary": binary, "disabled": off, "status": "disabled" if off else "enabled"}


@route("volume", "GET", "/os-hosts", "admin", "volume_extension:hosts")
def hosts(call: Call) -> Row:
    return {"hosts": [
        {"host_name": s["host"], "service": s["binary"], "zone": "nova", "service-status": "available",
         "service-state": s["status"], "last-update": s["updated_at"]}
        for s in _services(call)
    ]}  # fmt: skip


@route("volume", "GET", "/os-hosts/{host}", "admin", "volume_extension:hosts")
def one_host(call: Call, host: str) -> Row:
    rows = [v for v in call.cloud["volumes"].values() if v["host"].startswith(f"{host}#")]
    if host not in [s["host"] for s in _services(call)]:
        raise Refused(404, f"Host {host} could not be found.")
    snapshots = [s for v in rows for s in call.cloud["snapshots"].values() if s["volume_id"] == v["id"]]
    counts = {
        "volume_count": str(len(rows)), "total_volume_gb": str(sum(v["size"] for v in rows)), "snapshot_count": str(len(snapshots)),
        "total_snapshot_gb": str(sum(s["size"] for s in snapshots)),
    }  # fmt: skip
    projects = sorted({v["project_id"] for v in rows})
    return {"host": [{"resource": {"host": host, "project": p, **counts}} for p in ("(total)", *projects)]}


@route("volume", "GET", "/scheduler-stats/get_pools", "admin", "scheduler_extension:scheduler_stats:get_pools")
def pools(call: Call) -> Row:
    cloud, found = call.cloud, []
    for b in () if cloud.hub else _BACKENDS:
        name = f"{cloud.name}-ctl@{b}#{b}"
        taken = sum(v["size"] for v in cloud["volumes"].values() if v["host"] == name)
        row: Row = {"name": name}
        if call.flag("detail"):
            row["capabilities"] = {
                "volume_backend_name": b, "vendor_name": "lab", "driver_version": "1.0", "storage_protocol": "file",
                "total_capacity_gb": 10000, "free_capacity_gb": 10000 - taken, "provisioned_capacity_gb": taken,
                "max_over_subscription_ratio": 20.0, "thin_provisioning_support": True, "thick_provisioning_support": False,
                "reserved_percentage": 0, "QoS_support": False, "multiattach": True, "online_extend_support": True,
                "sparse_copy_volume": True, "consistent_group_snapshot_enabled": True, "consistencygroup_support": True,
                "allocated_capacity_gb": taken, "filter_function": None, "goodness_function": None, "timestamp": micro(cloud.now()),
            }  # fmt: skip
        found.append(row)
    return {"pools": found}


@route("volume", "GET", "/capabilities/{host}", "admin", "volume_extension:capabilities")
def capabilities(call: Call, host: str) -> Row:
    if host not in [s["host"] for s in _services(call)]:
        raise Refused(404, f"Service cinder-volume could not be found on host {host}.")
    name = host.partition("@")[2]
    return {
        "namespace": f"OS::Storage::Capabilities::{host}", "vendor_name": "lab", "volume_backend_name": name, "pool_name": None,
        "driver_version": "1.0", "storage_protocol": "file", "display_name": None, "description": None, "visibility": None,
        "replication_targets": [],
        "properties": {
            name: {"title": title, "description": title, "type": "boolean"}
            for name, title in (("thin_provisioning", "Thin Provisioning"), ("compression", "Compression"), ("qos", "QoS"),
                                ("replication_enabled", "Replication"))
        },
    }  # fmt: skip


def _manageable(path: str, low: int, what: str) -> None:
    """Volumes and snapshots at a backend that Cinder does not know: these backends cannot say."""

    @route("volume", "GET", f"/{path}", "admin", f"{what}:list_manageable", low=low)
    @route("volume", "GET", f"/{path}/detail", "admin", f"{what}:list_manageable", low=low)
    def listed(call: Call) -> Row:
        raise Refused(500, "The server has either erred or is incapable of performing the requested operation.")

    @route("volume", "POST", f"/{path}", "admin", f"{what}:manage", low=low)
    def manage(call: Call) -> Row:
        if "volume" in path:
            raise Refused(400, f"Host '{call.body('volume').get('host')}' not found")
        fetch(call, VOLUME, str(call.body("snapshot").get("volume_id")))
        raise Refused(500, "The server has either erred or is incapable of performing the requested operation.")


for _path, _low in (("manageable_volumes", 8), ("manageable_snapshots", 8), ("os-volume-manage", 0), ("os-snapshot-manage", 0)):
    _manageable(_path, _low, "volume_extension" if "volume" in _path else "snapshot_extension")


@route("volume", "GET", "/extensions")
def extensions(call: Call) -> Row:
    return {"extensions": [
        {"name": name, "alias": alias, "description": name, "updated": "2012-12-07T00:00:00+00:00", "links": []}
        for name, alias in (("UsedLimits", "os-used-limits"), ("AdminActions", "os-admin-actions"),
                            ("AvailabilityZones", "os-availability-zone"), ("Quotas", "os-quota-sets"))
    ]}  # fmt: skip


@route("volume", "GET", "/resource_filters", low=33)
def resource_filters(call: Call) -> Row:
    kinds = (VOLUME, BACKUP, SNAPSHOT, GROUP, GROUP_SNAPSHOT, ATTACHMENT, MESSAGE)
    asked = call.get("resource")
    return {"resource_filters": [{"resource": k.one, "filters": list(k.filters)} for k in kinds if asked in ("", k.one)]}


@route("volume", "GET", "/default-types", low=62)
def default_types(call: Call) -> Row:
    if not call.who.admin:
        forbid(call, "volume_extension:default_get_all")
    return {"default_types": []}


@route("volume", "GET", "/clusters", low=7)
def clusters(call: Call) -> Row:
    administrator(call, "clusters:get_all")
    return {"clusters": []}
