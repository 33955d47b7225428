"""Nova: NICs and volumes of servers that are there already."""

from __future__ import annotations

from sim.faults import Refused
from sim.nova import detach, release, unlocked
from sim.nova_blocks import finish, reserve
from sim.nova_create import plug
from sim.nova_schema import closed, fields, unexpected
from sim.nova_steps import ready
from sim.nova_view import act, fetch, ports, touch
from sim.population_ports import ports_having
from sim.population_volumes import attachments_of
from sim.web import Answer, Call, forbid, invalid, route
from sim.world import Row, is_uuid

NICS, VOLUMES = "os_compute_api:os-attach-interfaces", "os_compute_api:os-volumes-attachments"
RUNNABLE = ("active", "paused", "stopped")
WITH_VOLUMES = (*RUNNABLE, "resized", "soft-delete", "shelved", "shelved_offloaded", "suspended")


# Interfaces


def _nic(call: Call, s: Row, port: Row, state: str = "") -> Row:
    doc = {
        "net_id": port["network_id"],
        "port_id": port["id"],
        "mac_addr": port["mac_address"],
        "port_state": state or port["status"],
        "fixed_ips": [{"subnet_id": f["subnet_id"], "ip_address": f["ip_address"]} for f in port["fixed_ips"]],
    }
    return doc | ({"tag": s["nic_tags"].get(port["id"])} if call.since(70) else {})


def _port(call: Call, s: Row, ident: str) -> Row:
    for p in ports(call.cloud, s):
        if p["id"] == ident:
            return p
    raise Refused(404, f"Port id {ident} could not be found.")


@route("compute", "GET", "/servers/{ident}/os-interface", "reader", f"{NICS}:list")
def interfaces(call: Call, ident: str) -> Row:
    s = fetch(call, ident)
    return {"interfaceAttachments": [_nic(call, s, p) for p in ports(call.cloud, s)]}


@route("compute", "GET", "/servers/{ident}/os-interface/{port}", "reader", f"{NICS}:show")
def interface(call: Call, ident: str, port: str) -> Row:
    s = fetch(call, ident)
    return {"interfaceAttachment": _nic(call, s, _port(call, s, port))}


@route("compute", "POST", "/servers/{ident}/os-interface", "member", f"{NICS}:create")
def attach_interface(call: Call, ident: str) -> Row:
    closed(call.doc if isinstance(call.doc, dict) else {}, ("interfaceAttachment",))
    given: Row = (call.doc or {}).get("interfaceAttachment") or {}
    fields("interfaceAttachment", given, (), ("net_id", "port_id", "fixed_ips", *(("tag",) if call.since(49) else ())))
    network, port, fixed = given.get("net_id"), given.get("port_id"), given.get("fixed_ips")
    if network and port:
        raise Refused(400, "Must not input both network_id and port_id")
    if fixed and not network:
        raise Refused(400, "Must input network_id when request IP address")
    s = fetch(call, ident)
    unlocked(call, s)
    ready(s, "attach_interface", RUNNABLE)
    nic = {"port": port, "network": network, "fixed_ip": (fixed or [{}])[0].get("ip_address")}
    made = plug(call, s, _usable(call, nic), [])
    s["nic_tags"][made["id"]] = given.get("tag")
    act(call.cloud, call, s, "attach_interface")["finish"] = call.cloud.now()
    return {"interfaceAttachment": _nic(call, s, made, "DOWN")}


def _usable(call: Call, nic: Row) -> Row:
    """The NIC asked for, if it can be had. Raises Refused 400, 404, 409, 500."""
    cloud, who = call.cloud, call.who
    if nic["port"]:
        port = cloud["ports"].get(nic["port"])
        if port is None or not (who.admin or port["project_id"] == who.project_id):
            raise Refused(404, f"Port id {nic['port']} could not be found.")
        if port["device_id"]:
            raise Refused(409, f"Port {nic['port']} is still in use.")
        return nic
    own = [n for n in cloud["networks"].values() if not n["router:external"] and (n["project_id"] == who.project_id or n["shared"])]
    if not nic["network"]:
        if len(own) > 1:
            raise Refused(409, "Multiple possible networks found, use a Network ID to be more specific.")
        if not own:
            raise Refused(400, "No more IP addresses available or no suitable network was found.")
        return {**nic, "network": own[0]["id"]}
    if nic["network"] not in [n["id"] for n in own] and not (who.admin and nic["network"] in cloud["networks"]):
        raise unexpected(cloud, "oslo_messaging.rpc.client.RemoteError")
    held = (f["ip_address"] for p in ports_having(cloud["ports"], "network_id", nic["network"]) for f in p["fixed_ips"])
    if nic["fixed_ip"] in held:
        raise Refused(409, f"Fixed IP {nic['fixed_ip']} is already in use.")
    return nic


@route("compute", "DELETE", "/servers/{ident}/os-interface/{port}", "member", f"{NICS}:delete")
def detach_interface(call: Call, ident: str, port: str) -> Answer:
    cloud, s = call.cloud, fetch(call, ident)
    unlocked(call, s)
    ready(s, "detach_interface", RUNNABLE)
    action = act(cloud, call, s, "detach_interface")

    def gone() -> None:
        action["finish"] = cloud.now()
        row = next((p for p in ports(cloud, s) if p["id"] == port), None)
        if row is None:
            action["message"] = "Error"
            return
        release(cloud, row, made=port in s["made_ports"])
        s["nics"] = [n for n in s["nics"] if n != port]

    cloud.later(cloud.options.delete, gone)
    return Answer(202)


# Volumes


def _attachment(call: Call, s: Row, b: Row) -> Row:
    doc = {"volumeId": b["volume_id"], "serverId": s["id"], "device": b["device"]}
    doc |= {"tag": b["tag"]} if call.since(70) else {}
    doc |= {"delete_on_termination": b["dot"]} if call.since(79) else {}
    if call.since(89):
        if call.method == "POST":  # its own document stays as it was before 2.89
            return doc | {"id": b["volume_id"]}
        return doc | {"attachment_id": b["attachment_id"], "bdm_uuid": b["uuid"]}
    return {"id": b["volume_id"], **doc}


def _block(s: Row, volume: str) -> Row:
    found: list[Row] = [b for b in s["bdms"] if b["volume_id"] == volume]
    if not found:
        raise Refused(404, f"Instance {s['id']} is not attached to volume {volume}")
    return found[0]


def _volume(call: Call, ident: str) -> Row:
    row = call.cloud["volumes"].get(ident)
    if row is None or not (call.who.admin or row["project_id"] == call.who.project_id):
        raise Refused(404, f"Volume {ident} could not be found.")
    return row


@route("compute", "GET", "/servers/{ident}/os-volume_attachments", "reader", f"{VOLUMES}:index")
def attachments(call: Call, ident: str) -> Row:
    s = fetch(call, ident)
    return {"volumeAttachments": [_attachment(call, s, b) for b in s["bdms"]]}


@route("compute", "GET", "/servers/{ident}/os-volume_attachments/{volume}", "reader", f"{VOLUMES}:show")
def attachment(call: Call, ident: str, volume: str) -> Row:
    s = fetch(call, ident)
    return {"volumeAttachment": _attachment(call, s, _block(s, volume))}


def _wanted(call: Call, optional: tuple[str, ...]) -> Row:
    given = fields("volumeAttachment", call.body("volumeAttachment"), ("volumeId",), optional)
    if not is_uuid(given["volumeId"]):
        raise Refused(400, invalid("volumeId", given["volumeId"], "is not a 'uuid'"))
    return given


def _free(row: Row) -> None:
    """Raises Refused 400 for a volume that cannot be attached."""
    if row["status"] not in ("available", "downloading"):
        why = f"Volume {row['id']} status must be available or downloading to reserve, but the current status is {row['status']}."
        raise Refused(400, f"Invalid volume: Invalid input received: Invalid volume: {why} (HTTP 400)")


@route("compute", "POST", "/servers/{ident}/os-volume_attachments", "member", f"{VOLUMES}:create")
def attach_volume(call: Call, ident: str) -> Row:
    cloud = call.cloud
    optional = ("device", *(("tag",) if call.since(49) else ()), *(("delete_on_termination",) if call.since(79) else ()))
    given = _wanted(call, optional)
    s = fetch(call, ident)
    unlocked(call, s)
    ready(s, "attach_volume", WITH_VOLUMES, tasks=True)
    volume = _volume(call, given["volumeId"])
    holders = sorted({a["server_id"] for a in attachments_of(cloud["attachments"], volume["id"]) if a["server_id"]})
    if holders:
        raise Refused(400, f"Invalid volume: volume {volume['id']} is already attached to instances: {', '.join(holders)}")
    _free(volume)
    block = reserve(s, volume, given.get("device"), given.get("tag"), bool(given.get("delete_on_termination", False)))
    volume |= {"status": "reserved", "updated_at": cloud.now()}
    action = act(cloud, call, s, "attach_volume")

    def attached() -> None:
        action["finish"] = cloud.now()
        if block in s["bdms"] and volume["id"] in cloud["volumes"]:
            finish(cloud, s, volume, block["device"], block["tag"], block["dot"])

    cloud.later(cloud.options.volume, attached)
    return {"volumeAttachment": _attachment(call, s, block)}


@route("compute", "PUT", "/servers/{ident}/os-volume_attachments/{volume}", "member", f"{VOLUMES}:update")
def update_attachment(call: Call, ident: str, volume: str) -> Answer:
    """From 2.85 what happens at the end; before, and for another volume, the administrator's swap."""
    cloud = call.cloud
    given = _wanted(call, ("id", "serverId", "device", "tag", "delete_on_termination") if call.since(85) else ())
    other = given["volumeId"] != volume
    if (other or not call.since(85)) and not call.who.admin:
        forbid(call, f"{VOLUMES}:swap")
    s = fetch(call, ident)
    block = _block(s, volume)
    if not other:
        block["dot"] = bool(given.get("delete_on_termination", block["dot"]))
        return Answer(202)
    old, new = _volume(call, volume), _volume(call, given["volumeId"])
    _free(new)
    new["status"] = "reserved"
    action = act(cloud, call, s, "swap_volume")

    def swapped() -> None:
        detach(cloud, old, s["id"])
        block["volume_id"] = new["id"]
        finish(cloud, s, new, block["device"], block["tag"], block["dot"])
        action["finish"] = cloud.now()

    cloud.later(cloud.options.volume, swapped)
    return Answer(202)


@route("compute", "DELETE", "/servers/{ident}/os-volume_attachments/{volume}", "member", f"{VOLUMES}:delete")
def detach_volume(call: Call, ident: str, volume: str) -> Answer:
    cloud, s = call.cloud, fetch(call, ident)
    unlocked(call, s)
    row = _volume(call, volume)
    block = _block(s, volume)
    if block["root"]:
        raise Refused(403, "Cannot detach a root device volume")
    ready(s, "detach_volume", WITH_VOLUMES, tasks=True)
    if row["status"] != "in-use":
        why = "Unable to detach volume. Volume status must be 'in-use' and attach_status must be 'attached' to detach."
        why += f" Currently: status: '{row['status']}', attach_status: 'detached.'"
        raise Refused(400, f"Invalid input received: Invalid volume: {why} (HTTP 400)")
    row |= {"status": "detaching", "updated_at": cloud.now()}
    action = act(cloud, call, s, "detach_volume")

    def gone() -> None:
        s["bdms"] = [b for b in s["bdms"] if b["volume_id"] != volume]
        touch(cloud, s)
        action["finish"] = cloud.now()
        if volume in cloud["volumes"]:
            detach(cloud, row, s["id"])

    cloud.later(cloud.options.volume, gone)
    return Answer(202)
