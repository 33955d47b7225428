"""Nova: what operators see of a cloud: hosts, services, zones, aggregates, migrations; and events from other services."""

from __future__ import annotations

import json
from typing import Any

from sim.faults import Refused
from sim.hosts import hosts, services, usage, zone_of, zones
from sim.nova_schema import choice, fields, page, text
from sim.web import Answer, Call, forbid, next_link, route
from sim.world import Cloud, Row, micro, new_id, parse_time

CPU = {"arch": "x86_64", "model": "Nehalem", "vendor": "Intel", "features": ["pge", "clflush"],
       "topology": {"cores": 1, "threads": 1, "sockets": 4}}  # fmt: skip
HYPERVISORS, SERVICES, AGGREGATES = (f"os_compute_api:os-{n}" for n in ("hypervisors", "services", "aggregates"))


# Zones


@route("compute", "GET", "/os-availability-zone", "reader")
def zone_list(call: Call) -> Row:
    rows = [{"zoneName": z, "zoneState": {"available": True}, "hosts": None} for z in _zones(call.cloud)]
    return {"availabilityZoneInfo": rows}


def _zones(cloud: Cloud) -> dict[str, list[str]]:
    """Zones users may ask for: those with a host that is enabled."""
    off = cloud["disabled_services"]
    return {z: names for z, names in sorted(zones(cloud).items()) if any(h not in off for h in names)}


@route("compute", "GET", "/os-availability-zone/detail", "admin", "os_compute_api:os-availability-zone:detail")
def zone_details(call: Call) -> Row:
    cloud, found = call.cloud, {"internal": dict[str, Any]()}
    for s in services(cloud):
        state = {"available": s["status"] == "enabled", "active": True, "updated_at": micro(cloud.now())}
        found.setdefault(s["zone"], {}).setdefault(s["host"], {})[s["binary"]] = state
    able = {"internal", *_zones(cloud)}
    return {"availabilityZoneInfo": [{"zoneName": z, "zoneState": {"available": z in able}, "hosts": h} for z, h in found.items()]}


# Hypervisors


def _hypervisor(call: Call, h: Row, detail: bool) -> Row:
    cloud, by_uuid = call.cloud, call.since(53)
    off = cloud["disabled_services"].get(h["host"])
    doc = {
        "id": h["uuid"] if by_uuid else h["id"],
        "hypervisor_hostname": h["host"],
        "state": "down" if h["host"] in cloud["forced_down"] else "up",
        "status": "enabled" if off is None else "disabled",
    }
    on_it = [s for s in cloud["servers"].values() if s["host"] == h["host"] and not s["deleted"]]
    if on_it and (call.path.endswith("/servers") or (by_uuid and call.flag("with_servers"))):
        doc["servers"] = [{"uuid": s["id"], "name": f"instance-{s['number']:08x}"} for s in on_it]
    if not detail:
        return doc
    service = {"id": h["service_uuid"] if by_uuid else h["service_id"], "host": h["host"],
               "disabled_reason": off["reason"] if off else None}  # fmt: skip
    doc |= {"hypervisor_type": "fake", "hypervisor_version": 1000, "host_ip": "127.0.0.1", "service": service}
    if call.since(88):
        return doc | {"uptime": None}
    return doc | _room(cloud, h) | {"cpu_info": CPU if call.since(28) else json.dumps(CPU)}


def _room(cloud: Cloud, h: Row) -> Row:
    have = usage(cloud, h["host"])
    memory = have["ram"] + 512
    return {
        "vcpus": h["vcpus"], "memory_mb": h["memory_mb"], "local_gb": h["local_gb"], "vcpus_used": have["vcpus"],
        "memory_mb_used": memory, "local_gb_used": have["disk"], "free_ram_mb": h["memory_mb"] - memory,
        "free_disk_gb": h["local_gb"] - have["disk"], "current_workload": 0, "running_vms": have["servers"],
        "disk_available_least": 0,
    }  # fmt: skip


def _hypervisors(call: Call, detail: bool) -> Row:
    rows = hosts(call.cloud)
    pattern = call.get("hypervisor_hostname_pattern")
    if pattern and call.since(53):
        rows = [h for h in rows if pattern in h["host"]]
        if not rows:
            raise Refused(404, f"No hypervisor matching '{pattern}' could be found.")
    key = "uuid" if call.since(53) else "id"
    rows, more = page(call, rows, key) if call.since(33) else (rows, False)
    doc = {"hypervisors": [_hypervisor(call, h, detail) for h in rows]}
    return doc | (next_link(call, "hypervisors", rows[-1][key]) if more else {})


@route("compute", "GET", "/os-hypervisors", "admin", f"{HYPERVISORS}:list")
def hypervisor_list(call: Call) -> Row:
    return _hypervisors(call, False)


@route("compute", "GET", "/os-hypervisors/detail", "admin", f"{HYPERVISORS}:list-detail")
def hypervisor_details(call: Call) -> Row:
    return _hypervisors(call, True)


@route("compute", "GET", "/os-hypervisors/statistics", "admin", f"{HYPERVISORS}:statistics", high=87)
def statistics(call: Call) -> Row:
    rows = [_room(call.cloud, h) for h in hosts(call.cloud)]
    names = ("current_workload", "disk_available_least", "free_disk_gb", "free_ram_mb", "local_gb", "local_gb_used", "memory_mb",
             "memory_mb_used", "running_vms", "vcpus", "vcpus_used")  # fmt: skip
    return {"hypervisor_statistics": {"count": len(rows), **{n: sum(r[n] for r in rows) for n in names}}}


@route("compute", "GET", "/os-hypervisors/{ident}", "admin", f"{HYPERVISORS}:show")
def hypervisor(call: Call, ident: str) -> Row:
    for h in hosts(call.cloud):
        if ident == (h["uuid"] if call.since(53) else str(h["id"])):
            return {"hypervisor": _hypervisor(call, h, True)}
    raise Refused(404, f"Hypervisor with ID '{ident}' could not be found.")


@route("compute", "GET", "/os-hypervisors/{ident}/uptime", "admin", f"{HYPERVISORS}:uptime", high=87)
def uptime(call: Call, ident: str) -> Row:
    hypervisor(call, ident)
    raise Refused(501, "The requested functionality is not supported.")


@route("compute", "GET", "/os-hypervisors/{name}/search", "admin", f"{HYPERVISORS}:search", high=52)
@route("compute", "GET", "/os-hypervisors/{name}/servers", "admin", f"{HYPERVISORS}:servers", high=52)
def hypervisor_search(call: Call, name: str) -> Row:
    rows = [h for h in hosts(call.cloud) if name in h["host"]]
    if not rows:
        raise Refused(404, f"No hypervisor matching '{name}' could be found.")
    return {"hypervisors": [_hypervisor(call, h, False) for h in rows]}


# Services


def _service(call: Call, s: Row) -> Row:
    doc = {
        "id": s["uuid"] if call.since(53) else s["id"],
        "binary": s["binary"],
        "host": s["host"],
        "zone": s["zone"],
        "status": s["status"],
        "state": "up",
        "updated_at": micro(call.cloud.now()),
        "disabled_reason": s["disabled_reason"],
    }
    if call.since(11):
        doc["forced_down"] = s["host"] in call.cloud["forced_down"]
        doc["state"] = "down" if doc["forced_down"] else "up"
    return doc


@route("compute", "GET", "/os-services", "admin", f"{SERVICES}:list")
def service_list(call: Call) -> Row:
    rows = [s for s in services(call.cloud) if all(call.get(k) in ("", s[k]) for k in ("host", "binary"))]
    return {"services": [_service(call, s) for s in rows]}


def _switch(cloud: Cloud, host: str, status: str, reason: str | None) -> None:
    if status == "disabled":
        cloud["disabled_services"][host] = {"reason": reason}
    else:
        cloud["disabled_services"].pop(host, None)


@route("compute", "PUT", "/os-services/{ident}", "admin", f"{SERVICES}:update", low=53)
def update_service(call: Call, ident: str) -> Row:
    cloud, given = call.cloud, call.doc if isinstance(call.doc, dict) else {}
    if "status" in given:
        choice("status", given["status"], ["enabled", "disabled"])
    row = next((s for s in services(cloud) if s["uuid"] == ident), None)
    if row is None:
        raise Refused(404, f"Service {ident} could not be found.")
    if row["binary"] != "nova-compute":
        raise Refused(400, f"Updating a {row['binary']} service is not supported. Only nova-compute services can be updated.")
    if "status" in given:
        _switch(cloud, row["host"], given["status"], given.get("disabled_reason"))
    if "forced_down" in given:
        _force(cloud, row["host"], bool(given["forced_down"]))
    return {"service": next(_service(call, s) for s in services(cloud) if s["uuid"] == ident)}


def _force(cloud: Cloud, host: str, down: bool) -> None:
    cloud["forced_down"].pop(host, None)
    if down:
        cloud["forced_down"][host] = {}


@route("compute", "PUT", "/os-services/{verb}", "admin", f"{SERVICES}:update", high=52)
def switch_service(call: Call, verb: str) -> Row:
    given: Row = call.doc if isinstance(call.doc, dict) else {}
    if verb not in ("enable", "disable", "disable-log-reason", "force-down"):
        raise Refused(404, "Unknown action")
    host, binary = text("host", given.get("host")), text("binary", given.get("binary"))
    if host not in [h["host"] for h in hosts(call.cloud)]:
        raise Refused(404, f"Host '{host}' is not mapped to any cell")
    doc = {"host": host, "binary": binary}
    if verb == "force-down":
        _force(call.cloud, host, bool(given.get("forced_down")))
        return {"service": {**doc, "forced_down": bool(given.get("forced_down"))}}
    doc["status"] = "enabled" if verb == "enable" else "disabled"
    if verb == "disable-log-reason":
        doc["disabled_reason"] = given.get("disabled_reason", "")
    _switch(call.cloud, host, doc["status"], given.get("disabled_reason"))
    return {"service": doc}


# Aggregates


def _aggregate(call: Call, a: Row, *, brief: bool = False) -> Row:
    doc = {k: v for k, v in a.items() if not (k == "uuid" and not call.since(41)) and not (brief and k in ("hosts", "metadata"))}
    zone = a["metadata"].get("availability_zone")
    return {
        "aggregate": {**doc, "availability_zone": zone, "created_at": micro(a["created_at"]), "updated_at": micro(a["updated_at"])}
    }


def _find_aggregate(call: Call, ident: str) -> Row:
    row = call.cloud["aggregates"].get(ident)
    if row is None:
        raise Refused(404, f"Aggregate {ident} could not be found.")
    return row


@route("compute", "GET", "/os-aggregates", "admin", f"{AGGREGATES}:index")
def aggregates(call: Call) -> Row:
    return {"aggregates": [_aggregate(call, a)["aggregate"] for a in call.cloud["aggregates"].values()]}


@route("compute", "POST", "/os-aggregates", "admin", f"{AGGREGATES}:create")
def create_aggregate(call: Call) -> Row:
    given = fields("aggregate", call.body("aggregate"), ("name",), ("availability_zone",))
    _free_name(call, text("name", given["name"]))
    zone = given.get("availability_zone")
    row = {"id": call.cloud.serial(), "uuid": new_id(), "name": given["name"], "hosts": [], "deleted": False, "deleted_at": None,
           "metadata": {"availability_zone": zone} if zone else {}, "created_at": call.cloud.now(), "updated_at": None}  # fmt: skip
    call.cloud["aggregates"][str(row["id"])] = row
    return _aggregate(call, row, brief=True)


def _free_name(call: Call, name: str) -> None:
    if any(a["name"] == name for a in call.cloud["aggregates"].values()):
        raise Refused(409, f"Aggregate {name} already exists.")


@route("compute", "GET", "/os-aggregates/{ident}", "admin", f"{AGGREGATES}:show")
def aggregate(call: Call, ident: str) -> Row:
    return _aggregate(call, _find_aggregate(call, ident))


@route("compute", "PUT", "/os-aggregates/{ident}", "admin", f"{AGGREGATES}:update")
def update_aggregate(call: Call, ident: str) -> Row:
    row, given = _find_aggregate(call, ident), fields("aggregate", call.body("aggregate"), (), ("name", "availability_zone"))
    if given.get("name", row["name"]) != row["name"]:
        _free_name(call, given["name"])
        row |= {"name": given["name"], "updated_at": call.cloud.now()}
    if "availability_zone" in given:
        row["metadata"] |= {"availability_zone": given["availability_zone"]}
    return _aggregate(call, row)


@route("compute", "DELETE", "/os-aggregates/{ident}", "admin", f"{AGGREGATES}:delete")
def delete_aggregate(call: Call, ident: str) -> Answer:
    if _find_aggregate(call, ident)["hosts"]:
        raise Refused(400, f"Cannot remove host from aggregate {ident}. Reason: Host aggregate is not empty.")
    del call.cloud["aggregates"][ident]
    return Answer(200)


@route("compute", "POST", "/os-aggregates/{ident}/images", "admin", "compute:aggregates:images", low=81)
def cache_images(call: Call, ident: str) -> Answer:
    _find_aggregate(call, ident)
    return Answer(202)


@route("compute", "POST", "/os-aggregates/{ident}/action", "admin", f"{AGGREGATES}:action")
def act_aggregate(call: Call, ident: str) -> Row:
    doc: Row = call.doc if isinstance(call.doc, dict) else {}
    verb = next(iter(doc), "")
    if verb not in ("add_host", "remove_host", "set_metadata"):
        raise Refused(400, f"There is no such action: {verb}")
    row = _find_aggregate(call, ident)
    if verb == "set_metadata":
        given = fields(verb, doc[verb], ("metadata",))["metadata"]
        row["metadata"] = {k: v for k, v in {**row["metadata"], **given}.items() if v is not None}
        return _aggregate(call, row | {"updated_at": call.cloud.now()})  # said, but not kept
    host = text("host", fields(verb, doc[verb], ("host",))["host"])
    if verb == "remove_host":
        if host not in row["hosts"]:
            raise Refused(404, f"Cannot remove host {host} in aggregate {ident}")
        row["hosts"].remove(host)
        return _aggregate(call, row)
    if host not in [h["host"] for h in hosts(call.cloud)]:
        raise Refused(404, f"Compute host {host} could not be found.")
    if host in row["hosts"]:
        raise Refused(409, f"Aggregate {ident} already has host {host}.")
    zone, there = row["metadata"].get("availability_zone"), zone_of(call.cloud, host)
    if zone and any(
        host in a["hosts"] and a["metadata"].get("availability_zone") not in (None, zone) for a in call.cloud["aggregates"].values()
    ):
        why = f"One or more hosts already in availability zone(s) ['{there}']."
        raise Refused(409, f"Cannot add host to aggregate {ident}. Reason: {why}")
    row["hosts"].append(host)
    return _aggregate(call, row)


# Migrations


MIGRATION_FILTERS = {"changes-before", "changes-since", "hidden", "host", "instance_uuid", "limit", "marker", "migration_type",
                     "project_id", "source_compute", "status", "user_id"}  # fmt: skip


@route("compute", "GET", "/os-migrations", "admin", "os_compute_api:os-migrations:index")
def migrations(call: Call) -> Row:
    unknown = [k for k, _ in call.query if k not in MIGRATION_FILTERS]
    if unknown and call.since(75):
        raise Refused(400, f"Additional properties are not allowed ({unknown[0]!r} was unexpected)")
    rows = sorted(call.cloud["migrations"].values(), key=lambda m: (-m["created_at"], -m["id"]))
    for name in ("status", "instance_uuid", "source_compute", "migration_type", "user_id", "project_id"):
        rows = [m for m in rows if call.get(name) in ("", m[name])]
    if call.get("host"):
        rows = [m for m in rows if call.get("host") in (m["source_compute"], m["dest_compute"])]
    if call.since(59) and call.get("changes-since"):
        rows = [m for m in rows if m["updated_at"] >= parse_time(call.get("changes-since"))]
    rows, more = page(call, rows, "uuid") if call.since(59) else (rows, False)
    added = {"migration_type": 23, "uuid": 59, "user_id": 80, "project_id": 80}
    found = [{k: micro(v) if k.endswith("_at") else v for k, v in m.items() if call.since(added.get(k, 0))} for m in rows]
    return {"migrations": found, **(next_link(call, "migrations", rows[-1]["uuid"]) if more else {})}


# Events


@route("compute", "POST", "/os-server-external-events", "any")
def events(call: Call) -> Answer:
    if not (call.who.admin or call.who.service):
        forbid(call, "os_compute_api:os-server-external-events:create")
    given: Row = call.doc if isinstance(call.doc, dict) else {}
    if not isinstance(given.get("events"), list):
        raise Refused(400, "'events' is a required property")
    found = []
    for e in given["events"]:
        s = call.cloud["servers"].get(e.get("server_uuid", ""))
        code = 404 if s is None or s["deleted"] else 422 if s["host"] is None else 200
        found.append({**e, "code": code, "status": "completed" if code == 200 else "failed"})
    return Answer(200 if all(e["code"] == 200 for e in found) else 207, {"events": found})
