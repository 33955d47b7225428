"""Nova: quotas, limits and usage of projects."""

from __future__ import annotations

from datetime import UTC, datetime

from sim.faults import Refused
from sim.nova_schema import fields, integer, number
from sim.population import Population
from sim.web import Answer, Call, forbid, next_link, route
from sim.world import Cloud, Row, micro, parse_time

LIMITS: dict[str, tuple[int, int]] = {
    "cores": (8000, 0), "fixed_ips": (-1, 36), "floating_ips": (-1, 36), "injected_file_content_bytes": (10240, 57),
    "injected_file_path_bytes": (255, 57), "injected_files": (5, 57), "instances": (2000, 0), "key_pairs": (1000, 0),
    "metadata_items": (128, 0), "ram": (8192000, 0), "security_group_rules": (-1, 36), "security_groups": (-1, 36),
    "server_group_members": (100, 0), "server_groups": (1000, 0),
}  # fmt: skip
"""Name -> a site's default, the microversion it is gone from (0 = never)."""
AT_HUB = {"cores": 400, "instances": 200, "ram": 819200, "server_groups": 100}
ABSOLUTE = (
    # name, quota ("=": a fixed number), gone from
    ("maxImageMeta", "metadata_items", 39), ("maxPersonality", "injected_files", 57),
    ("maxPersonalitySize", "injected_file_content_bytes", 57), ("maxSecurityGroupRules", "security_group_rules", 36),
    ("maxSecurityGroups", "security_groups", 36), ("maxServerGroupMembers", "server_group_members", 0),
    ("maxServerGroups", "server_groups", 0), ("maxServerMeta", "metadata_items", 0), ("maxTotalCores", "cores", 0),
    ("maxTotalFloatingIps", "floating_ips", 36), ("maxTotalInstances", "instances", 0), ("maxTotalKeypairs", "key_pairs", 0),
    ("maxTotalRAMSize", "ram", 0),
)  # fmt: skip
USED = (
    ("totalCoresUsed", "cores", 0),
    ("totalFloatingIpsUsed", "floating_ips", 36),
    ("totalInstancesUsed", "instances", 0),
    ("totalRAMUsed", "ram", 0),
    ("totalSecurityGroupsUsed", "security_groups", 36),
    ("totalServerGroupsUsed", "server_groups", 0),
)
SETS = "os_compute_api:os-quota-sets"


def defaults(cloud: Cloud) -> dict[str, int]:
    """Limits of a project that has none of its own."""
    own = {name: limit for name, (limit, _) in LIMITS.items()}
    return own | (AT_HUB if cloud.hub else {}) | cloud["quota_classes"].get("default", {})


def limits(cloud: Cloud, project: str) -> dict[str, int]:
    """Limits of a project."""
    return defaults(cloud) | cloud["quotas"].get(project, {})


def used(cloud: Cloud, project: str) -> dict[str, int]:
    """What a project uses of what Nova counts."""
    table = cloud["servers"]
    there = table.of(project) if isinstance(table, Population) else table.values()
    servers = [s for s in there if s["project_id"] == project and not s["deleted"]]
    groups = sum(1 for g in cloud["server_groups"].values() if g["project_id"] == project)
    cores, ram = (sum(int(s["flavor"][k]) for s in servers) for k in ("vcpus", "ram"))
    return {"instances": len(servers), "cores": cores, "ram": ram, "server_groups": groups}


def check_quota(call: Call, wanted: dict[str, int]) -> None:
    """Raises Refused 403 when a project may not have that much more."""
    limit, have = limits(call.cloud, call.who.project_id), used(call.cloud, call.who.project_id)
    over = sorted(k for k, n in wanted.items() if n > 0 and limit[k] >= 0 and have[k] + n > limit[k])
    if over:
        names, asked, taken, most = (", ".join(map(str, v)) for v in (
            over, [wanted[k] for k in over], [have[k] for k in over], [limit[k] for k in over]))  # fmt: skip
        raise Refused(403, f"Quota exceeded for {names}: Requested {asked}, but already used {taken} of {most} {names}")


def _shown(call: Call) -> list[str]:
    return [name for name, (_, gone) in LIMITS.items() if not gone or not call.since(gone)]


def _project(call: Call, project: str, rule: str) -> str:
    """A project the caller may ask about. Raises Refused 400, 403."""
    if project != call.who.project_id and not call.who.admin:
        forbid(call, f"{SETS}:{rule}")
    if project not in call.cloud.identity["projects"]:
        raise Refused(400, f"Project ID {project} is not a valid project.")
    return project


@route("compute", "GET", "/os-quota-sets/{project}", "reader")
def quota(call: Call, project: str) -> Row:
    got = limits(call.cloud, _project(call, project, "show"))
    return {"quota_set": {"id": project, **{n: got[n] for n in _shown(call)}}}


@route("compute", "GET", "/os-quota-sets/{project}/defaults", "reader")
def quota_defaults(call: Call, project: str) -> Row:
    got = defaults(call.cloud)
    return {"quota_set": {"id": project, **{n: got[n] for n in _shown(call)}}}


@route("compute", "GET", "/os-quota-sets/{project}/detail", "reader")
def quota_detail(call: Call, project: str) -> Row:
    got = limits(call.cloud, _project(call, project, "detail"))
    have = {**used(call.cloud, project), "server_groups": 0}
    return {"quota_set": {"id": project, **{n: {"in_use": have.get(n, 0), "limit": got[n], "reserved": 0} for n in _shown(call)}}}


@route("compute", "PUT", "/os-quota-sets/{project}", "admin", f"{SETS}:update")
def set_quota(call: Call, project: str) -> Row:
    _project(call, project, "update")
    given = fields("quota_set", call.body("quota_set"), (), (*_shown(call), "force"))
    force = str(given.pop("force", False)).lower() == "true"
    wanted = {k: integer(k, v, -1) for k, v in given.items()}
    have = used(call.cloud, project)
    for k, n in wanted.items():
        if not force and 0 <= n < have.get(k, 0):
            raise Refused(400, f"Quota limit {n} for {k} must be greater than or equal to already used and reserved {have[k]}.")
    call.cloud["quotas"].setdefault(project, {}).update(wanted)
    got = limits(call.cloud, project)
    return {"quota_set": {n: got[n] for n in _shown(call)}}


@route("compute", "DELETE", "/os-quota-sets/{project}", "admin", f"{SETS}:delete")
def drop_quota(call: Call, project: str) -> Answer:
    call.cloud["quotas"].pop(_project(call, project, "delete"), None)
    return Answer(202)


def _class(call: Call) -> Row:
    got = defaults(call.cloud)
    return {n: got[n] for n in _shown(call) if call.since(50) or not n.startswith("server_group")}


@route("compute", "GET", "/os-quota-class-sets/{name}", "admin", "os_compute_api:os-quota-class-sets:show")
def quota_class(call: Call, name: str) -> Row:
    return {"quota_class_set": {"id": name, **_class(call)}}


@route("compute", "PUT", "/os-quota-class-sets/{name}", "admin", "os_compute_api:os-quota-class-sets:update")
def set_quota_class(call: Call, name: str) -> Row:
    given = fields("quota_class_set", call.body("quota_class_set"), (), tuple(_shown(call)))
    call.cloud["quota_classes"].setdefault(name, {}).update({k: integer(k, v, -1) for k, v in given.items()})
    return {"quota_class_set": _class(call)}


@route("compute", "GET", "/limits", "reader")
def absolute(call: Call) -> Row:
    project = call.get("tenant_id") or call.who.project_id
    if project != call.who.project_id and not call.who.admin:
        forbid(call, "os_compute_api:limits:other_project")
    got, have = limits(call.cloud, project), used(call.cloud, project)
    doc = {name: got[key] for name, key, gone in ABSOLUTE if not gone or not call.since(gone)}
    doc |= {name: have.get(key, 0) for name, key, gone in USED if not gone or not call.since(gone)}
    return {"limits": {"rate": [], "absolute": doc}}


# Usage


def _moment(call: Call, name: str) -> float:
    text = call.get(name)
    try:
        return parse_time(text) if text else datetime.now(UTC).timestamp() + call.cloud.skew
    except ValueError:
        raise Refused(400, "Invalid datetime string: Datetime is in invalid format") from None


def _usage(call: Call, project: str, start: float, stop: float, detailed: bool, rows: list[Row]) -> Row:
    """What a project used between two moments."""
    servers, total = [], {"vcpus": 0.0, "ram": 0.0, "disk": 0.0, "hours": 0.0}
    for s in rows:
        end = s["terminated_at"]
        hours = max(min(stop, end or stop) - max(start, s["launched_at"]), 0.0) / 3600
        flavor = s["flavor"]
        for k in ("vcpus", "ram", "disk"):
            total[k] += hours * (flavor[k] + (flavor["ephemeral"] if k == "disk" else 0))
        total["hours"] += hours
        servers.append({
            "instance_id": s["id"], "name": s["name"], "hours": hours, "flavor": flavor["name"], "tenant_id": project,
            "memory_mb": flavor["ram"], "local_gb": flavor["disk"] + flavor["ephemeral"], "vcpus": flavor["vcpus"],
            "started_at": micro(s["launched_at"]), "ended_at": micro(end), "state": "terminated" if end else s["vm_state"],
            "uptime": int((end or call.cloud.now()) - s["launched_at"]),
        })  # fmt: skip
    doc = {
        "tenant_id": project, "start": micro(start), "stop": micro(stop), "total_vcpus_usage": total["vcpus"],
        "total_memory_mb_usage": total["ram"], "total_local_gb_usage": total["disk"], "total_hours": total["hours"],
    }  # fmt: skip
    return doc | ({"server_usages": servers} if detailed else {})


def _usages(call: Call, project: str | None) -> tuple[list[Row], str]:
    """Usage by project, and the server a next page starts after."""
    start, stop = _moment(call, "start"), _moment(call, "end")
    if start > stop:
        raise Refused(400, f"Invalid start time. The start time cannot occur after the end time. {micro(start)} {micro(stop)}")
    rows = sorted(
        (
            s
            for s in call.cloud["servers"].values()
            if (project is None or s["project_id"] == project)
            and s["launched_at"] is not None
            and s["launched_at"] <= stop
            and (s["terminated_at"] is None or s["terminated_at"] >= start)
        ),
        key=lambda s: s["id"],
    )
    last = ""
    if call.since(40):
        limit, marker = number(call, "limit", 1000) or 1000, call.get("marker")
        if marker and marker not in call.cloud["servers"]:
            raise Refused(400, f"marker [{marker}] not found")
        rows = [s for s in rows if s["id"] > marker]
        last = rows[limit - 1]["id"] if len(rows) >= limit else ""
        rows = rows[:limit]
    detailed = project is not None or call.get("detailed") == "1"
    found = [
        _usage(call, p, start, stop, detailed, [s for s in rows if s["project_id"] == p])
        for p in sorted({s["project_id"] for s in rows})
    ]
    return found, last


@route("compute", "GET", "/os-simple-tenant-usage", "admin", "os_compute_api:os-simple-tenant-usage:list")
def usages(call: Call) -> Row:
    found, last = _usages(call, None)
    return {"tenant_usages": found, **(next_link(call, "tenant_usages", last) if last else {})}


@route("compute", "GET", "/os-simple-tenant-usage/{project}", "reader")
def usage(call: Call, project: str) -> Row:
    if project != call.who.project_id and not call.who.admin:
        forbid(call, "os_compute_api:os-simple-tenant-usage:show")
    found, last = _usages(call, project)
    return {"tenant_usage": found[0] if found else {}, **(next_link(call, "tenant_usage", last) if last else {})}
