"""A server as Nova shows it at a microversion, and what its rows mean."""

from __future__ import annotations

from typing import Any

from sim.computed import Computed
from sim.faults import Refused
from sim.hosts import host_id
from sim.web import Call
from sim.world import Cloud, Row, micro, zulu

STATUS = {
    "active": "ACTIVE", "building": "BUILD", "paused": "PAUSED", "suspended": "SUSPENDED", "stopped": "SHUTOFF",
    "rescued": "RESCUE", "resized": "VERIFY_RESIZE", "error": "ERROR", "deleted": "DELETED", "soft-delete": "SOFT_DELETED",
    "shelved": "SHELVED", "shelved_offloaded": "SHELVED_OFFLOADED",
}  # fmt: skip
BY_TASK = {
    ("active", "rebooting"): "REBOOT", ("active", "reboot_started"): "REBOOT", ("active", "rebooting_hard"): "HARD_REBOOT",
    ("active", "rebuilding"): "REBUILD", ("stopped", "rebuilding"): "REBUILD", ("error", "rebuilding"): "REBUILD",
    ("active", "resize_prep"): "RESIZE", ("stopped", "resize_prep"): "RESIZE", ("active", "migrating"): "MIGRATING",
    ("active", "updating_password"): "PASSWORD", ("resized", "resize_reverting"): "REVERT_RESIZE",
}  # fmt: skip
PROGRESS = ("ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING")
FAULTY = ("ERROR", "DELETED")


def status(s: Row) -> str:
    """What users see of vm_state and task_state."""
    return BY_TASK.get((s["vm_state"], s["task_state"])) or STATUS[s["vm_state"]]


def fetch(call: Call, ident: str) -> Row:
    """A server the caller may see. Raises Refused 404."""
    row = call.cloud["servers"].get(ident)
    if row is None or row["deleted"] or not (call.who.admin or row["project_id"] == call.who.project_id):
        raise Refused(404, f"Instance {ident} could not be found.")
    return row


def links(cloud: Cloud, what: str, ident: str, *, bookmark_only: bool = False) -> list[Row]:
    """``self`` and ``bookmark``."""
    root = cloud.url("compute")
    found = [{"rel": "self", "href": f"{root}/v2.1/{what}/{ident}"}, {"rel": "bookmark", "href": f"{root}/{what}/{ident}"}]
    return found[1:] if bookmark_only else found


def ports(cloud: Cloud, s: Row, *, only_look: bool = False) -> list[Row]:
    """The server's ports, in the order they came. ``only_look``: nothing is changed in them."""
    table = cloud["ports"]
    one = table.look if only_look and isinstance(table, Computed) else table.get
    found = (one(n) for n in s["nics"])
    return [p for p in found if p is not None and p["device_id"] == s["id"]]


def addresses(cloud: Cloud, s: Row, *, extended: bool = True) -> Row:
    """Network name -> addresses. Nothing before the network is there."""
    found: dict[str, list[Row]] = {}
    if s["deleted"] or s["request"]:
        return found
    floating = {
        (f["port_id"], f["fixed_ip_address"]): f["floating_ip_address"] for f in cloud["floatingips"].values() if f["port_id"]
    }
    for p in ports(cloud, s, only_look=True):
        rows = found.setdefault(cloud["networks"][p["network_id"]]["name"], [])
        for f in p["fixed_ips"]:
            pairs = [("fixed", f["ip_address"]), ("floating", floating.get((p["id"], f["ip_address"])))]
            for kind, address in pairs:
                if address:
                    more = {"OS-EXT-IPS:type": kind, "OS-EXT-IPS-MAC:mac_addr": p["mac_address"]} if extended else {}
                    rows.append({"version": 6 if ":" in address else 4, "addr": address, **more})
    return found


def group_names(cloud: Cloud, s: Row) -> list[Row]:
    """Names of the security groups of its ports."""
    groups = cloud["security_groups"]
    names = {groups[g]["name"] for p in ports(cloud, s, only_look=True) for g in p["security_groups"] if g in groups}
    return [{"name": n} for n in sorted(names)]


def flavor_ref(call: Call, flavor: Row) -> Row:
    """A link below 2.47, the flavor itself from there."""
    if not call.since(47):
        return {"id": flavor["id"], "links": links(call.cloud, "flavors", flavor["id"], bookmark_only=True)}
    doc = {k: flavor[k] for k in ("vcpus", "ram", "disk", "ephemeral", "swap")}
    return {**doc, "original_name": flavor["name"], "extra_specs": flavor["extra_specs"]}


def brief(call: Call, s: Row) -> Row:
    """The short form of a list."""
    return {"id": s["id"], "name": s["name"], "links": links(call.cloud, "servers", s["id"])}


def _image_properties(cloud: Cloud, s: Row) -> Row:
    """What Nova knows of the image: before 2026, whatever it wrote down at the boot."""
    if cloud.newest:
        return {k: v for k, v in s["image_props"].items() if k.startswith(("hw_", "img_", "os_"))}
    image = cloud["images"].get(s["image_id"], {"container_format": "bare", "disk_format": "raw", "min_ram": 0})
    noted = {k: str(image[k]) for k in ("container_format", "disk_format", "min_ram")}
    return {**s["image_props"], **noted, "base_image_ref": s["image_id"], "min_disk": str(s["flavor"]["disk"])}


def show(call: Call, s: Row, *, detail: bool = False) -> Row:
    """The long form. ``detail``: as a list has it, which lacks what only one server shows."""
    cloud, admin, state = call.cloud, call.who.admin, status(s)
    image: Any = ""
    if s["image_id"]:
        image = {"id": s["image_id"], "links": links(cloud, "images", s["image_id"], bookmark_only=True)}
        if call.since(98):
            image["properties"] = _image_properties(cloud, s)
    doc: Row = {
        "accessIPv4": s["accessIPv4"], "accessIPv6": s["accessIPv6"], "addresses": addresses(cloud, s),
        "created": zulu(s["created_at"]), "flavor": flavor_ref(call, s["flavor"]), "hostId": host_id(s["project_id"], s["host"]),
        "id": s["id"], "image": image, "links": links(cloud, "servers", s["id"]), "name": s["name"],
        "metadata": {} if s["deleted"] else s["metadata"],
        "status": state, "tenant_id": s["project_id"], "user_id": s["user_id"], "updated": zulu(s["updated_at"]),
        "OS-DCF:diskConfig": s["disk_config"],
    }  # fmt: skip
    if state in PROGRESS:
        doc["progress"] = 0
    if state in FAULTY and s["fault"]:
        fault = dict(s["fault"])
        if not admin:
            fault.pop("details", None)
        doc["fault"] = fault
    doc |= {
        "OS-EXT-AZ:availability_zone": s["zone"] or "", "config_drive": s["config_drive"], "key_name": s["key_name"],
        "OS-SRV-USG:launched_at": micro(s["launched_at"]), "OS-SRV-USG:terminated_at": micro(s["terminated_at"]),
    }  # fmt: skip
    names = [] if s["deleted"] or s["request"] else group_names(cloud, s)
    if names:
        doc["security_groups"] = names
    if admin:
        doc |= _admin(call, s)
    doc |= {
        "OS-EXT-STS:task_state": s["task_state"],
        "OS-EXT-STS:vm_state": s["vm_state"],
        "OS-EXT-STS:power_state": s["power_state"],
    }
    volumes = [{"id": b["volume_id"], **({"delete_on_termination": b["dot"]} if call.since(3) else {})} for b in s["bdms"]]
    doc["os-extended-volumes:volumes_attached"] = volumes
    return doc | _later(call, s, detail)


def _admin(call: Call, s: Row) -> Row:
    name = "" if s["request"] else f"instance-{s['number']:08x}"
    doc = {
        "OS-EXT-SRV-ATTR:host": s["host"],
        "OS-EXT-SRV-ATTR:instance_name": name,
        "OS-EXT-SRV-ATTR:hypervisor_hostname": s["host"],
    }
    if call.since(3):
        doc |= {
            "OS-EXT-SRV-ATTR:hostname": s["hostname"],
            "OS-EXT-SRV-ATTR:kernel_id": "",
            "OS-EXT-SRV-ATTR:ramdisk_id": "",
            "OS-EXT-SRV-ATTR:launch_index": s["launch_index"],
            "OS-EXT-SRV-ATTR:reservation_id": s["reservation_id"],
            "OS-EXT-SRV-ATTR:root_device_name": None if s["request"] else "/dev/sda",
            "OS-EXT-SRV-ATTR:user_data": s["user_data"],
        }
    return doc


def _later(call: Call, s: Row, detail: bool) -> Row:
    """What microversions added."""
    added: tuple[tuple[int, str, Any], ...] = (
        (9, "locked", s["locked"]),
        (19, "description", s["description"]),
        (26, "tags", s["tags"]),
        (63, "trusted_image_certificates", None),
        (73, "locked_reason", s["locked_reason"]),
        (90, "OS-EXT-SRV-ATTR:hostname", s["hostname"]),
        (96, "pinned_availability_zone", s["pinned_zone"]),
        (100, "scheduler_hints", s["hints"]),
    )
    doc = {name: value for since, name, value in added if call.since(since)}
    if call.since(16) and call.who.admin:
        doc["host_status"] = "UP" if s["host"] else ""
    if call.since(71) and not detail:
        doc["server_groups"] = [g["id"] for g in call.cloud["server_groups"].values() if s["id"] in g["members"]]
    return doc


def slim(call: Call, doc: Row) -> Row:
    """Below 2.75 changes and rebuilds answer with less than a look at the server does."""
    if call.since(75):
        return doc
    for row in (a for rows in doc["addresses"].values() for a in rows):
        row.pop("OS-EXT-IPS:type")
        row.pop("OS-EXT-IPS-MAC:mac_addr")
    left_out = ("config_drive", "key_name", "security_groups")
    return {
        k: v for k, v in doc.items() if k not in left_out and not k.startswith(("OS-EXT-", "OS-SRV-", "os-extended", "host_status"))
    }


def act(cloud: Cloud, call: Call, s: Row, action: str, *, message: str | None = None) -> Row:
    """Write an instance action down; its event ends when ``finish`` is set."""
    row = {
        "action": action, "instance_uuid": s["id"], "request_id": call.request_id, "user_id": call.who.user_id,
        "project_id": call.who.project_id, "start": cloud.now(), "finish": None, "message": message, "host": s["host"],
    }  # fmt: skip
    cloud["actions"].setdefault(s["id"], {"rows": []})["rows"].insert(0, row)
    return row


def touch(cloud: Cloud, s: Row, **values: Any) -> None:
    """Change a server."""
    s |= values
    s["updated_at"] = cloud.now()
