"""Nova: what hangs on a server and is only data: metadata, tags, addresses, groups, instance actions, diagnostics."""

from __future__ import annotations

from typing import Any

from sim.faults import Refused
from sim.hosts import host_id
from sim.neutron_groups import rules_of
from sim.nova import unlocked
from sim.nova_schema import number, strings
from sim.nova_view import addresses, fetch, ports, touch
from sim.web import Answer, Call, forbid, invalid, route
from sim.world import Row, micro, parse_time, zulu

METADATA, TAGS = "os_compute_api:server-metadata", "os_compute_api:os-server-tags"
CONDUCTOR_RESIZE = (
    "compute_finish_resize",
    "compute_resize_instance",
    "compute_prep_resize",
    "cold_migrate",
    "conductor_migrate_server",
)
EVENTS: dict[str, tuple[str, ...]] = {
    "create": ("compute__do_build_and_run_instance",),
    "delete": ("compute_terminate_instance",),
    "resetState": (),
    "changePassword": ("compute_set_admin_password",),
    "createBackup": ("compute_backup_instance",),
    "createImage": ("compute_snapshot_instance",),
    "rebuild": ("compute_rebuild_instance", "rebuild_server"),
    "confirmResize": ("compute_confirm_resize",),
    "resize": CONDUCTOR_RESIZE,
    "migrate": CONDUCTOR_RESIZE,
    "revertResize": ("compute_finish_revert_resize", "compute_revert_resize"),
    "lock": (),
    "unlock": (),
    "unshelve": ("compute_unshelve_instance", "schedule_instances", "get_image_info"),
    "attach_volume": ("compute_attach_volume",),
    "detach_volume": ("compute_detach_volume",),
    "attach_interface": ("compute_attach_interface",),
    "detach_interface": ("compute_detach_interface",),
}
"""Action -> its events, newest first; ``compute_ACTION_instance`` where nothing is said."""
DIAGNOSTICS = {
    "cpu0_time": 17300000000, "memory": 524288, "vda_errors": -1, "vda_read": 262144, "vda_read_req": 112, "vda_write": 5778432,
    "vda_write_req": 488, "vnet1_rx": 2070139, "vnet1_rx_drop": 0, "vnet1_rx_errors": 0, "vnet1_rx_packets": 26701,
    "vnet1_tx": 140208, "vnet1_tx_drop": 0, "vnet1_tx_errors": 0, "vnet1_tx_packets": 662,
}  # fmt: skip
DIAGNOSTICS_48 = {
    "state": "running",
    "driver": "libvirt",
    "hypervisor": "kvm",
    "hypervisor_os": "ubuntu",
    "uptime": 46664,
    "config_drive": True,
    "num_cpus": 1,
    "num_nics": 1,
    "num_disks": 1,
    "disk_details": [
        {"read_bytes": 262144, "read_requests": 112, "write_bytes": 5778432, "write_requests": 488, "errors_count": 1}
    ],
    "cpu_details": [{"id": 0, "time": 17300000000, "utilisation": 15}],
    "nic_details": [
        {
            "mac_address": "01:23:45:67:89:ab",
            "rx_octets": 2070139,
            "rx_errors": 100,
            "rx_drop": 200,
            "rx_packets": 26701,
            "rx_rate": 300,
            "tx_octets": 140208,
            "tx_errors": 400,
            "tx_drop": 500,
            "tx_packets": 662,
            "tx_rate": 600,
        }
    ],
    "memory_details": {"maximum": 524288, "used": 0},
}


# Metadata


@route("compute", "GET", "/servers/{ident}/metadata", "reader", f"{METADATA}:index")
def metadata(call: Call, ident: str) -> Row:
    return {"metadata": fetch(call, ident)["metadata"]}


@route("compute", "POST", "/servers/{ident}/metadata", "member", f"{METADATA}:create")
def add_metadata(call: Call, ident: str) -> Row:
    given = strings(call.body("metadata"))
    s = _changeable(call, ident)
    touch(call.cloud, s, metadata=strings({**s["metadata"], **given}))
    return {"metadata": s["metadata"]}


@route("compute", "PUT", "/servers/{ident}/metadata", "member", f"{METADATA}:update_all")
def set_metadata(call: Call, ident: str) -> Row:
    given = strings(call.body("metadata"))
    touch(call.cloud, _changeable(call, ident), metadata=dict(given))
    return {"metadata": given}


def _changeable(call: Call, ident: str) -> Row:
    s = fetch(call, ident)
    unlocked(call, s)
    return s


def _item(call: Call, ident: str, key: str) -> Row:
    s = fetch(call, ident)
    if key not in s["metadata"]:
        raise Refused(404, "Metadata item was not found")
    return s


@route("compute", "GET", "/servers/{ident}/metadata/{key}", "reader", f"{METADATA}:show")
def item(call: Call, ident: str, key: str) -> Row:
    return {"meta": {key: _item(call, ident, key)["metadata"][key]}}


@route("compute", "PUT", "/servers/{ident}/metadata/{key}", "member", f"{METADATA}:update")
def set_item(call: Call, ident: str, key: str) -> Row:
    given = strings(call.body("meta"))
    if key not in given:
        raise Refused(400, "Request body and URI mismatch")
    s = _changeable(call, ident)
    touch(call.cloud, s, metadata=strings({**s["metadata"], **given}))
    return {"meta": given}


@route("compute", "DELETE", "/servers/{ident}/metadata/{key}", "member", f"{METADATA}:delete")
def drop_item(call: Call, ident: str, key: str) -> Answer:
    s = _item(call, ident, key)
    unlocked(call, s)
    touch(call.cloud, s, metadata={k: v for k, v in s["metadata"].items() if k != key})
    return Answer(204)


# Tags


def _check_tag(name: str, tag: Any) -> None:
    if not isinstance(tag, str):
        raise Refused(400, invalid(name, tag, "is not of type 'string'"))
    if not 0 < len(tag) <= 60:
        raise Refused(400, invalid(name, tag, "is too long" if tag else "should be non-empty"))
    if "/" in tag or "," in tag:
        raise Refused(400, invalid(name, tag, "does not match '^[^,/]*$'"))


@route("compute", "GET", "/servers/{ident}/tags", "reader", f"{TAGS}:index", low=26)
def tags(call: Call, ident: str) -> Row:
    return {"tags": fetch(call, ident)["tags"]}


@route("compute", "PUT", "/servers/{ident}/tags", "member", f"{TAGS}:update_all", low=26)
def set_tags(call: Call, ident: str) -> Row:
    if not isinstance(call.doc, dict) or "tags" not in call.doc:
        raise Refused(400, "'tags' is a required property")
    given = call.doc["tags"]
    if not isinstance(given, list) or len(given) > 50:
        raise Refused(400, invalid("tags", given, "is too long" if isinstance(given, list) else "is not of type 'array'"))
    for n, tag in enumerate(given):
        _check_tag(str(n), tag)
    s = fetch(call, ident)
    touch(call.cloud, s, tags=sorted(set(given)))
    return {"tags": s["tags"]}


@route("compute", "DELETE", "/servers/{ident}/tags", "member", f"{TAGS}:delete_all", low=26)
def drop_tags(call: Call, ident: str) -> Answer:
    touch(call.cloud, fetch(call, ident), tags=[])
    return Answer(204)


@route("compute", "GET", "/servers/{ident}/tags/{tag}", "reader", f"{TAGS}:show", low=26)
def has_tag(call: Call, ident: str, tag: str) -> Answer:
    if tag not in fetch(call, ident)["tags"]:
        raise Refused(404, f"Server {ident} has no tag '{tag}'")
    return Answer(204)


@route("compute", "PUT", "/servers/{ident}/tags/{tag}", "member", f"{TAGS}:update", low=26)
def add_tag(call: Call, ident: str, tag: str) -> Answer:
    _check_tag("tag", tag)
    s = fetch(call, ident)
    if tag in s["tags"]:
        return Answer(204)
    if len(s["tags"]) >= 50:
        raise Refused(400, "The number of tags exceeded the per-server limit 50")
    touch(call.cloud, s, tags=sorted([*s["tags"], tag]))
    return Answer(201, headers={"Location": f"{call.cloud.url('compute')}/v2.1/servers/{ident}/tags/{tag}"})


@route("compute", "DELETE", "/servers/{ident}/tags/{tag}", "member", f"{TAGS}:delete", low=26)
def drop_tag(call: Call, ident: str, tag: str) -> Answer:
    s = fetch(call, ident)
    if tag not in s["tags"]:
        raise Refused(404, f"Instance {ident} has no tag '{tag}'")
    touch(call.cloud, s, tags=[t for t in s["tags"] if t != tag])
    return Answer(204)


# Addresses and security groups


@route("compute", "GET", "/servers/{ident}/ips", "reader", "os_compute_api:ips:index")
def ips(call: Call, ident: str) -> Row:
    return {"addresses": addresses(call.cloud, fetch(call, ident), extended=False)}


@route("compute", "GET", "/servers/{ident}/ips/{network}", "reader", "os_compute_api:ips:show")
def ips_of(call: Call, ident: str, network: str) -> Row:
    found = addresses(call.cloud, fetch(call, ident), extended=False)
    if network not in found:
        raise Refused(404, "Instance is not a member of specified network")
    return {network: found[network]}


@route("compute", "GET", "/servers/{ident}/os-security-groups", "reader", "os_compute_api:os-security-groups:list")
def groups(call: Call, ident: str) -> Row:
    held = {g for p in ports(call.cloud, fetch(call, ident)) for g in p["security_groups"]}
    rows = [g for g in call.cloud["security_groups"].values() if g["id"] in held]
    return {"security_groups": [_group(call, g) for g in sorted(rows, key=lambda g: (g["project_id"], g["name"]))]}


def _group(call: Call, g: Row) -> Row:
    rules = []
    for r in rules_of(call.cloud, g["id"]):
        if r["direction"] != "ingress":
            continue
        protocol, low, high = r["protocol"], r["port_range_min"], r["port_range_max"]
        if protocol and low is None:
            low, high = (1, 65535) if protocol in ("tcp", "udp") else (-1, -1)
        remote = call.cloud["security_groups"].get(r["remote_group_id"] or "")
        named = {"name": remote["name"], "tenant_id": remote["project_id"]} if remote else {}
        anywhere = r["remote_ip_prefix"] or ("0.0.0.0/0" if r["ethertype"] == "IPv4" else "::/0")
        rules.append({"id": r["id"], "parent_group_id": g["id"], "ip_protocol": protocol, "from_port": low, "to_port": high,
                      "group": named, "ip_range": {} if remote else {"cidr": anywhere}})  # fmt: skip
    return {"id": g["id"], "name": g["name"], "description": g["description"], "tenant_id": g["project_id"], "rules": rules}


# Instance actions


def _actions(call: Call, ident: str) -> list[Row]:
    """A server's actions, newest first; also a deleted server's from 2.21."""
    row = call.cloud["servers"].get(ident)
    if not (call.since(21) and row is not None and row["deleted"] and row["project_id"] == call.who.project_id):
        fetch(call, ident)
    return list(call.cloud["actions"].get(ident, {"rows": []})["rows"])


def _action(call: Call, a: Row) -> Row:
    doc = {k: a[k] for k in ("action", "instance_uuid", "request_id", "user_id", "project_id", "message")}
    doc["start_time"] = micro(a["start"])
    return doc | ({"updated_at": micro(a["finish"] or a["start"])} if call.since(58) else {})


@route("compute", "GET", "/servers/{ident}/os-instance-actions", "reader", "os_compute_api:os-instance-actions:list")
def actions(call: Call, ident: str) -> Row:
    rows = _actions(call, ident)
    if not call.since(58):
        return {"instanceActions": [_action(call, a) for a in rows]}
    for name in ("changes-since", "changes-before"):
        if value := call.get(name):
            try:
                t = parse_time(value)
            except ValueError:
                message = f"Invalid input for query parameters {name}. Value: {value}. '{value}' is not a 'date-time'"
                raise Refused(400, message) from None
            rows = [a for a in rows if ((a["finish"] or a["start"]) >= t) == (name == "changes-since")]
    if marker := call.get("marker"):
        at = next((n for n, a in enumerate(rows) if a["request_id"] == marker), None)
        if at is None:
            raise Refused(400, "Marker None could not be found.")
        rows = rows[at + 1 :]
    limit = number(call, "limit", None)
    doc: Row = {"instanceActions": [_action(call, a) for a in rows[:limit]]}
    if limit and len(rows) >= limit:
        here = f"{call.cloud.url('compute')}/v2.1/servers/{ident}/os-instance-actions"
        doc["links"] = [{"rel": "next", "href": f"{here}?limit={limit}&marker={rows[limit - 1]['request_id']}"}]
    return doc


@route("compute", "GET", "/servers/{ident}/os-instance-actions/{request}", "reader", "os_compute_api:os-instance-actions:show")
def action(call: Call, ident: str, request: str) -> Row:
    row = next((a for a in _actions(call, ident) if a["request_id"] == request), None)
    if row is None:
        raise Refused(404, f"Action {request} not found")
    doc = _action(call, row)
    if call.who.admin or call.since(51):
        doc["events"] = [_event(call, row, e) for e in EVENTS.get(row["action"], (f"compute_{row['action']}_instance",))]
    return {"instanceAction": doc}


def _event(call: Call, a: Row, name: str) -> Row:
    result = None if a["finish"] is None else "Error" if a["message"] else "Success"
    doc = {"event": name, "start_time": micro(a["start"]), "finish_time": micro(a["finish"]), "result": result}
    if call.who.admin:
        doc |= {
            "traceback": None,
            **({"host": a["host"]} if call.since(62) else {}),
            **({"details": None} if call.since(84) else {}),
        }
    return doc | ({"hostId": host_id(a["project_id"], a["host"])} if call.since(62) else {})


# The rest


@route("compute", "GET", "/servers/{ident}/os-server-password", "reader", "os_compute_api:os-server-password:show")
def password(call: Call, ident: str) -> Row:
    fetch(call, ident)
    return {"password": ""}


@route("compute", "DELETE", "/servers/{ident}/os-server-password", "member", "os_compute_api:os-server-password:clear")
def clear_password(call: Call, ident: str) -> Answer:
    fetch(call, ident)
    return Answer(204)


@route("compute", "GET", "/servers/{ident}/topology", "reader", "compute:server:topology:index", low=78)
def topology(call: Call, ident: str) -> Row:
    fetch(call, ident)
    return {"nodes": [], "pagesize_kb": None}


@route("compute", "GET", "/servers/{ident}/diagnostics", "admin", "os_compute_api:os-server-diagnostics")
def diagnostics(call: Call, ident: str) -> Row:
    if fetch(call, ident)["host"] is None:
        raise Refused(409, f"Instance {ident} is not ready")
    return DIAGNOSTICS_48 if call.since(48) else DIAGNOSTICS


@route("compute", "GET", "/servers/{ident}/migrations", "admin", "os_compute_api:servers:migrations:index", low=23)
def migrations(call: Call, ident: str) -> Row:
    fetch(call, ident)
    return {"migrations": []}


@route("compute", "GET", "/servers/{ident}/migrations/{number}", "admin", "os_compute_api:servers:migrations:show", low=23)
def migration(call: Call, ident: str, number: str) -> Row:
    fetch(call, ident)
    raise Refused(404, f"In-progress live migration {number} is not found for server {ident}.")


@route("compute", "GET", "/servers/{ident}/shares", "reader", "os_compute_api:os-server-shares:index", low=97)
def shares(call: Call, ident: str) -> Row:
    s = fetch(call, ident)
    if not call.cloud.newest and s["project_id"] != call.who.project_id:
        forbid(call, "os_compute_api:os-server-shares:index")
    return {"shares": []}


@route("compute", "GET", "/extensions", "any")
def extensions(call: Call) -> Row:
    return {"extensions": [extension(call, a)["extension"] for a in ("os-keypairs", "servers", "flavors")]}


@route("compute", "GET", "/extensions/{alias}", "any")
def extension(call: Call, alias: str) -> Row:
    namespace = "http://docs.openstack.org/compute/ext/fake_xml"
    doc: Row = {"alias": alias, "name": alias, "description": "", "links": [], "namespace": namespace, "updated": zulu(1418169600)}
    return {"extension": doc}
