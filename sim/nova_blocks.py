"""Nova: volumes of servers, at boot and later."""

from __future__ import annotations

from typing import Any

from sim.faults import Refused
from sim.web import Call, invalid
from sim.world import Cloud, Row, new_id


def block_devices(call: Call, server: Row) -> list[Row]:
    """The block devices of a create, checked. Raises Refused 400, 404."""
    found = []
    for b in server.get("block_device_mapping_v2") or ():
        if not isinstance(b, dict):
            raise Refused(400, invalid("block_device_mapping_v2", b, "is not of type 'object'"))
        source, ident = b.get("source_type", "blank"), b.get("uuid") or b.get("volume_id")
        index = int(b["boot_index"]) if b.get("boot_index") is not None else -1
        if source == "image" and b.get("destination_type") == "local":
            continue
        row = {"source": source, "ident": ident, "boot_index": index, "size": b.get("volume_size"), "tag": b.get("tag"),
               "dot": bool(b.get("delete_on_termination", False)), "type": b.get("volume_type")}  # fmt: skip
        if b.get("destination_type") == "local":
            continue
        _check(call, row)
        found.append(row)
    for b in server.get("block_device_mapping") or ():
        row = {"source": "volume", "ident": b.get("volume_id"), "boot_index": 0 if b.get("device_name", "").endswith("a") else -1,
               "size": None, "tag": None, "dot": bool(b.get("delete_on_termination", False)), "type": None}  # fmt: skip
        _check(call, row)
        found.append(row)
    return found


def _check(call: Call, row: Row) -> None:
    source, ident = row["source"], row["ident"]
    if source == "volume":
        volume = call.cloud["volumes"].get(ident or "")
        if volume is None or not (call.who.admin or volume["project_id"] == call.who.project_id):
            raise Refused(400, f"Volume {ident} could not be found.")
        if volume["status"] != "available":
            raise Refused(400, f"Invalid volume: volume '{ident}' status must be 'available'. Currently in '{volume['status']}'")
    elif source == "snapshot" and ident not in call.cloud["snapshots"]:
        raise Refused(400, f"Block Device Mapping is Invalid: failed to get snapshot {ident}.")
    elif source == "image" and ident not in call.cloud["images"]:
        raise Refused(400, f"Block Device Mapping is Invalid: failed to get image {ident}.")
    elif source in ("image", "blank") and not row["size"]:
        raise Refused(400, "Block Device Mapping is Invalid: Images with destination_type 'volume' need to specify volume size.")


def attach_now(call: Call, s: Row, block: Row) -> None:
    """Attach one block device of a server that is being built, making its volume where needed."""
    from sim.cinder import new_volume

    cloud = call.cloud
    if block["source"] == "volume":
        volume = cloud["volumes"].get(block["ident"])
        if volume is None:
            raise Refused(400, f"Volume {block['ident']} could not be found.")
    else:
        size = int(block["size"] or 1)
        volume = new_volume(cloud, s["project_id"], s["user_id"], size=size, status="available", name="")
        volume["bootable"] = block["source"] == "image"
    finish(cloud, s, volume, device(s), block["tag"], block["dot"], root=block["boot_index"] == 0)


def device(s: Row) -> str:
    """The next free device name."""
    first = 1 if s["image_id"] else 0
    return "/dev/sd" + "abcdefghijklmnopqrstuvwxyz"[first + len(s["bdms"])]


def reserve(s: Row, volume: Row, name: str | None, tag: Any, dot: bool) -> Row:
    """Book a volume for a server."""
    block = {
        "volume_id": volume["id"],
        "device": name or device(s),
        "tag": tag,
        "dot": dot,
        "attachment_id": new_id(),
        "uuid": new_id(),
        "root": False,
    }
    s["bdms"].append(block)
    return block


def finish(cloud: Cloud, s: Row, volume: Row, name: str, tag: Any, dot: bool, *, root: bool = False) -> None:
    """Attach it."""
    block = next((b for b in s["bdms"] if b["volume_id"] == volume["id"]), None) or reserve(s, volume, name, tag, dot)
    block["root"] = root
    cloud["attachments"][block["attachment_id"]] = {
        "id": block["attachment_id"],
        "volume_id": volume["id"],
        "server_id": s["id"],
        "device": block["device"],
        "status": "attached",
        "attached_at": cloud.now(),
        "host": s["host"],
        "project_id": s["project_id"],
        "mode": "rw",
        "created_at": cloud.now(),
    }
    volume |= {"status": "in-use", "updated_at": cloud.now()}
