"""Placement: one provider per compute host, so that a client finds the shape it expects."""

from __future__ import annotations

from sim.faults import Refused
from sim.hosts import hosts, usage
from sim.web import Call, route
from sim.world import Row


@route("placement", "GET", "/", "")
def versions(call: Call) -> Row:
    low, high = call.cloud.window("placement")
    link = [{"rel": "self", "href": ""}]
    row = {"id": "v1.0", "max_version": f"1.{high[1]}", "min_version": f"1.{low[1]}", "status": "CURRENT", "links": link}
    return {"versions": [row]}


def _providers(call: Call) -> list[Row]:
    rows = [{"uuid": h["uuid"], "name": h["host"], "generation": 1, "links": []} for h in hosts(call.cloud)]
    return [r | ({"parent_provider_uuid": None, "root_provider_uuid": r["uuid"]} if call.since(14) else {}) for r in rows]


@route("placement", "GET", "/resource_providers", "admin")
def providers(call: Call) -> Row:
    return {"resource_providers": [p for p in _providers(call) if call.get("name") in ("", p["name"])]}


@route("placement", "GET", "/resource_providers/{ident}/inventories", "admin")
def inventories(call: Call, ident: str) -> Row:
    h = _host(call, ident)
    totals = {"VCPU": h["vcpus"], "MEMORY_MB": h["memory_mb"], "DISK_GB": h["local_gb"]}
    base = {"reserved": 0, "min_unit": 1, "step_size": 1, "allocation_ratio": 1.0}
    return {"resource_provider_generation": 1, "inventories": {k: {"total": v, "max_unit": v, **base} for k, v in totals.items()}}


@route("placement", "GET", "/resource_providers/{ident}/usages", "admin")
def usages(call: Call, ident: str) -> Row:
    used = usage(call.cloud, _host(call, ident)["host"])
    shown = {"VCPU": used["vcpus"], "MEMORY_MB": used["ram"], "DISK_GB": used["disk"]}
    return {"resource_provider_generation": 1, "usages": shown}


def _host(call: Call, ident: str) -> Row:
    for h in hosts(call.cloud):
        if h["uuid"] == ident:
            return h
    raise Refused(404, f"No resource provider with uuid {ident} found")
