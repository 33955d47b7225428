"""Cinder: version documents, volumes and snapshots."""

from __future__ import annotations

from typing import Any

from sim.cinder_rows import (
    BACKUP,
    GROUP,
    SNAPSHOT,
    VOLUME,
    Kind,
    check_quota,
    fetch,
    later,
    links,
    listing,
    new,
    required,
    times,
    touch,
    type_of,
    vanish,
)
from sim.faults import Refused
from sim.population_volumes import attachments_of
from sim.web import Answer, Call, invalid, route
from sim.world import Cloud, Row, is_uuid, micro

_DELETABLE = ("available", "error", "error_restoring", "error_extending", "error_managing")
_GIVEN = frozenset({
    "name", "description", "display_name", "display_description", "size", "availability_zone", "snapshot_id", "source_volid",
    "imageRef", "image_id", "volume_type", "metadata", "multiattach", "consistencygroup_id", "group_id", "backup_id", "user_id",
    "project_id", "status", "attach_status", "volume_id", "scheduler_hints", "OS-SCH-HNT:scheduler_hints",
})  # fmt: skip
"""What a create may name."""
BOOLEANS = ("true", "1", "on", "yes", "y", "t", "false", "0", "off", "no", "n", "f")
_NOT_DELETABLE = (
    "Invalid volume: Volume status must be available or error or error_restoring or error_extending or error_managing and must "
    "not be migrating, attached, belong to a group, have snapshots, awaiting a transfer, or be disassociated from snapshots "
    "after volume transfer."
)


def _version(call: Call) -> Row:
    newest = ".".join(map(str, call.cloud.window("volume")[1]))
    return {
        "id": "v3.0", "status": "CURRENT", "version": newest, "min_version": "3.0", "updated": "2023-08-31T00:00:00Z",
        "links": [{"rel": "describedby", "type": "text/html", "href": "https://docs.openstack.org/"},
                  {"rel": "self", "href": f"{call.cloud.url('volume')}/v3/"}],
        "media-types": [{"base": "application/json", "type": "application/vnd.openstack.volume+json;version=3"}],
    }  # fmt: skip


@route("volume", "GET", "/", "")
def versions(call: Call) -> Answer:
    return Answer(300, {"versions": [_version(call)]})


@route("volume", "GET", "/v3/", "any")
def version(call: Call) -> Row:
    return {"versions": [_version(call)]}


def new_volume(cloud: Cloud, project: str, user: str, *, size: int, status: str, name: str | None, **values: Any) -> Row:
    """A volume as Cinder writes it down first."""
    kinds = cloud["volume_types"].values()
    default = next(t["id"] for t in kinds if t["name"] == "__DEFAULT__")
    backend = "lab" if cloud.serial() % 2 else "lab2"
    row: Row = {
        "name": name, "size": size, "status": status, "description": None, "availability_zone": "nova", "type_id": default,
        "snapshot_id": None, "source_volid": None, "metadata": {}, "bootable": False, "multiattach": False,
        "host": f"{cloud.name}-ctl@{backend}#{backend}", "image": None, "migration_status": None, "group_id": None,
        "readonly": False, "consumes_quota": True,
    }  # fmt: skip
    return new(cloud, VOLUME, project, user, **(row | values))


def attachments(cloud: Cloud, row: Row) -> list[Row]:
    """The attachments of a volume that count."""
    return [a for a in attachments_of(cloud["attachments"], row["id"]) if a["status"] == "attached"]


def show_volume(call: Call, row: Row) -> Row:
    """In detail."""
    cloud, who = call.cloud, call.who
    kind = cloud["volume_types"].get(row["type_id"], {"name": None})
    doc: Row = {
        "id": row["id"], "status": row["status"], "size": row["size"], "availability_zone": row["availability_zone"], **times(row),
        "name": row["name"], "description": row["description"], "volume_type": kind["name"], "snapshot_id": row["snapshot_id"],
        "source_volid": row["source_volid"], "metadata": row["metadata"], "links": links(call, VOLUME, row["id"]),
        "user_id": row["user_id"], "bootable": str(bool(row["bootable"])).lower(), "encrypted": False, "replication_status": None,
        "consistencygroup_id": None, "multiattach": row["multiattach"],
        "attachments": [
            {"id": row["id"], "attachment_id": a["id"], "volume_id": row["id"], "server_id": a["server_id"],
             "host_name": a["host"] if who.admin else None, "device": a["device"], "attached_at": micro(a["attached_at"])}
            for a in attachments(cloud, row)
        ],
    }  # fmt: skip
    if who.admin:
        doc["migration_status"] = row["migration_status"]
    newer = ((13, "group_id", row["group_id"]), (21, "provider_id", None), (48, "shared_targets", False),
             (48, "service_uuid", None if call.method == "POST" else row["id"]), (61, "cluster_name", None),
             (63, "volume_type_id", row["type_id"]),
             (65, "consumes_quota", row["consumes_quota"]))  # fmt: skip
    doc |= {
        name: value for low, name, value in newer if call.since(low) and (who.admin or name not in ("provider_id", "cluster_name"))
    }
    if call.method != "GET":
        return doc
    if row["image"]:
        doc["volume_image_metadata"] = row["image"]
    doc["os-vol-tenant-attr:tenant_id"] = row["project_id"]
    if who.admin:
        doc |= {"os-vol-host-attr:host": row["host"], "os-vol-mig-status-attr:migstat": row["migration_status"],
                "os-vol-mig-status-attr:name_id": None}  # fmt: skip
    return doc


def _brief_volume(call: Call, row: Row) -> Row:
    return {"id": row["id"], "name": row["name"], "links": links(call, VOLUME, row["id"])}


def show_snapshot(call: Call, row: Row) -> Row:
    """In detail."""
    doc = _brief_snapshot(call, row)
    for low, name in ((14, "group_snapshot_id"), (41, "user_id"), (65, "consumes_quota")):
        if call.since(low):
            doc[name] = row.get(name, name == "consumes_quota" or None)
    if call.method != "GET":
        return doc
    return doc | {"os-extended-snapshot-attributes:project_id": row["project_id"],
                  "os-extended-snapshot-attributes:progress": "100%" if row["status"] == "available" else "0%"}  # fmt: skip


def _brief_snapshot(call: Call, row: Row) -> Row:
    shown = ("name", "description", "volume_id", "status", "size", "metadata")
    return {"id": row["id"], **times(row), **{k: row[k] for k in shown}}


@route("volume", "GET", "/volumes")
def volumes(call: Call) -> Row:
    return listing(call, VOLUME, _brief_volume)


@route("volume", "GET", "/volumes/detail")
def volumes_detail(call: Call) -> Row:
    return listing(call, VOLUME, show_volume)


@route("volume", "GET", "/volumes/summary", low=12)
def summary(call: Call) -> Row:
    everybody = call.who.admin and call.flag("all_tenants")
    rows = [r for r in call.cloud["volumes"].values() if everybody or r["project_id"] == call.who.project_id]
    doc: Row = {"total_size": sum(r["size"] for r in rows), "total_count": len(rows)}
    if call.since(36):
        doc["metadata"] = {k: sorted({r["metadata"][k] for r in rows if k in r["metadata"]}) for r in rows for k in r["metadata"]}
    return {"volume-summary": doc}


@route("volume", "GET", "/volumes/{ident}")
def volume(call: Call, ident: str) -> Row:
    return {"volume": show_volume(call, fetch(call, VOLUME, ident))}


@route("volume", "POST", "/volumes", "member", "volume:create")
def create(call: Call) -> Answer:
    given = call.body("volume")
    _check(call, given)
    cloud, who = call.cloud, call.who
    source = next((k for k in ("snapshot_id", "source_volid", "imageRef", "image_id", "backup_id") if given.get(k)), None)
    size = _size(given, source)
    zone = given.get("availability_zone")
    if cloud.hub or (zone is not None and zone != "nova"):
        raise Refused(400, f"Availability zone '{zone or 'nova'}' is invalid.")
    values: Row = {
        "metadata": metadata(given),
        "description": given.get("description"),
        "multiattach": bool(given.get("multiattach")),
    }
    if source == "snapshot_id":
        size = _from(call, SNAPSHOT, given[source], "snapshot", size)
        values |= {
            "snapshot_id": given[source],
            "bootable": cloud["volumes"][cloud["snapshots"][given[source]]["volume_id"]]["bootable"],
        }
    elif source == "source_volid":
        size = _from(call, VOLUME, given[source], "source volume", size)
        values |= {"source_volid": given[source], "bootable": cloud["volumes"][given[source]]["bootable"]}
    elif source == "backup_id":
        held = fetch(call, BACKUP, str(given[source]))["size"]
        size = size or held
    elif source in ("imageRef", "image_id"):
        values |= _from_image(call, str(given[source]), size)
    kind = type_of(call, given.get("volume_type"))
    values |= {"type_id": kind["id"], "multiattach": values["multiattach"] or "True" in str(kind["extra_specs"].get("multiattach"))}
    check_quota(call, {"volumes": 1, "gigabytes": size, f"volumes_{kind['name']}": 1, f"gigabytes_{kind['name']}": size})
    row = new_volume(cloud, who.project_id, who.user_id, size=size, status="creating", name=given.get("name"), **values)
    later(cloud, VOLUME, row, status="available")
    return Answer(202, {"volume": show_volume(call, row)})


def _check(call: Call, given: Row) -> None:
    """What the schema says of a create. Raises Refused 400; 404 for a group that is not there."""
    unknown = sorted(set(given) - _GIVEN)
    if unknown:
        message = f"Additional properties are not allowed ({unknown[0]!r} was unexpected)"
        raise Refused(400, f"Invalid input for field/attribute volume. Value: {given}. {message}")
    _check_name(given)
    for key in ("snapshot_id", "source_volid", "backup_id", "group_id"):
        if given.get(key) is not None and not is_uuid(given[key]):
            raise Refused(400, invalid(key, given[key], "is not valid under any of the given schemas"))
    if given.get("group_id"):
        fetch(call, GROUP, given["group_id"])


def _check_name(given: Row) -> None:
    for key in ("name", "description", "display_name", "display_description"):
        if isinstance(given.get(key), str) and len(given[key]) > 255:
            raise Refused(400, f"Invalid input received: {key} has {len(given[key])} characters, more than 255.")


def _size(given: Row, source: str | None) -> int:
    value = given.get("size")
    if value is None:
        if source in ("snapshot_id", "source_volid", "backup_id"):
            return 0
        raise Refused(400, "The server could not comply with the request since it is either malformed or otherwise incorrect.")
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise Refused(400, invalid("size", value, "is not of type 'integer', 'string'"))
    if not str(value).lstrip("-").isdigit():
        raise Refused(400, invalid("size", value, "does not match '^[0-9]+$'"))
    if int(value) < 1:
        raise Refused(400, invalid("size", value, "is less than the minimum of 1"))
    return int(value)


def _from(call: Call, kind: Kind, ident: Any, words: str, size: int) -> int:
    """The size of a copy. Raises Refused 400, 404."""
    row = fetch(call, kind, str(ident))
    if size and size < row["size"]:
        raise Refused(400, f"Invalid input received: Volume size '{size}' GB cannot be smaller than the {words} size "
                           f"{row['size']}. "
                           f"They must be >= original volume size.")  # fmt: skip
    return size or int(row["size"])


def _from_image(call: Call, ident: str, size: int) -> Row:
    image = call.cloud["images"].get(ident)
    who = call.who
    seen = image is not None and (
        who.admin or image["owner"] == who.project_id or image["visibility"] in ("public", "community")
        or who.project_id in image["members"]
    )  # fmt: skip
    if image is None or not seen:
        raise Refused(400, "Invalid image identifier or unable to access requested image.")
    if image["status"] != "active":
        raise Refused(400, f"Invalid input received: Image {ident} is not active.")
    if size < image["min_disk"]:
        raise Refused(400, f"Invalid input received: Volume size {size}GB cannot be smaller than the image minDisk size "
                           f"{image['min_disk']}GB.")  # fmt: skip
    shown = ("checksum", "container_format", "disk_format", "min_disk", "min_ram", "size")
    return {"bootable": True, "image": {
        "signature_verified": "False", "image_id": ident, "image_name": image["name"], **{k: str(image[k]) for k in shown},
    }}  # fmt: skip


@route("volume", "PUT", "/volumes/{ident}", "member", "volume:update")
def update(call: Call, ident: str) -> Row:
    return {"volume": show_volume(call, _renamed(call, VOLUME, ident))}


def _renamed(call: Call, kind: Kind, ident: str) -> Row:
    """Name, description and metadata from the body. Raises Refused 400, 404."""
    given = call.body(kind.one)
    row = fetch(call, kind, ident)
    known = {"display_name": "name", "display_description": "description"}
    wanted = {known.get(k, k): v for k, v in given.items()}
    chosen = {k: v for k, v in wanted.items() if k in ("name", "description")}
    if "metadata" in wanted:
        chosen["metadata"] = metadata(wanted)
    _check_name(given)
    if not chosen and call.since(53):
        raise Refused(400, f"Invalid input for field/attribute {kind.one}. Value: {given}. {given} is not valid under any of the "
                           "given schemas")  # fmt: skip
    touch(call.cloud, row, **chosen)
    return row


def metadata(given: Row) -> Row:
    """The metadata of a body. Raises Refused 400."""
    got = given.get("metadata")
    if got is None:
        return {}
    if not isinstance(got, dict):
        raise Refused(400, invalid("metadata", got, "is not of type 'object'"))
    for k, v in got.items():
        if not isinstance(v, str):
            raise Refused(400, invalid(k, v, "is not of type 'string'"))
    return dict(got)


@route("volume", "DELETE", "/volumes/{ident}", "member", "volume:delete")
def delete(call: Call, ident: str) -> Answer:
    row = fetch(call, VOLUME, ident)
    snapshots = [s for s in call.cloud["snapshots"].values() if s["volume_id"] == ident]
    force = call.since(23) and call.flag("force") and call.who.admin
    if snapshots and call.flag("cascade"):
        for s in snapshots:
            vanish(call.cloud, SNAPSHOT, s)
    elif snapshots or (row["status"] not in _DELETABLE and not force) or row["group_id"]:
        raise Refused(400, _NOT_DELETABLE)
    vanish(call.cloud, VOLUME, row)
    return Answer(202)


@route("volume", "GET", "/snapshots")
def snapshots(call: Call) -> Row:
    return listing(call, SNAPSHOT, _brief_snapshot)


@route("volume", "GET", "/snapshots/detail")
def snapshots_detail(call: Call) -> Row:
    return listing(call, SNAPSHOT, show_snapshot)


@route("volume", "GET", "/snapshots/{ident}")
def snapshot(call: Call, ident: str) -> Row:
    return {"snapshot": show_snapshot(call, fetch(call, SNAPSHOT, ident))}


@route("volume", "POST", "/snapshots", "member", "volume:create_snapshot")
def create_snapshot(call: Call) -> Answer:
    given = call.body("snapshot")
    required(given, "snapshot", "volume_id")
    if "force" in given and str(given["force"]).lower() not in BOOLEANS:
        raise Refused(400, invalid("force", given["force"], f"is not one of {BOOLEANS}"))
    volume = fetch(call, VOLUME, str(given["volume_id"]))
    forced = str(given.get("force", "")).lower() == "true" or call.since(66)
    if volume["status"] != "available" and not (forced and volume["status"] == "in-use"):
        raise Refused(400, f"Invalid volume: Volume {volume['id']} status must be available, but current status is: "
                           f"{volume['status']}.")  # fmt: skip
    kind = call.cloud["volume_types"][volume["type_id"]]["name"]
    size = volume["size"]
    check_quota(call, {"snapshots": 1, "gigabytes": size, f"snapshots_{kind}": 1, f"gigabytes_{kind}": size})
    row = take_snapshot(call, volume, given.get("name"), given.get("description"), metadata(given))
    return Answer(202, {"snapshot": show_snapshot(call, row)})


def take_snapshot(
    call: Call, volume: Row, name: str | None, description: str | None = None, given: Row | None = None, group: str | None = None
) -> Row:
    """A snapshot of a volume, in the making."""
    row = new(
        call.cloud, SNAPSHOT, volume["project_id"], call.who.user_id, name=name, description=description, volume_id=volume["id"],
        status="creating", size=volume["size"], metadata=given or {}, type_id=volume["type_id"], group_snapshot_id=group,
    )  # fmt: skip
    later(call.cloud, SNAPSHOT, row, status="available")
    return row


@route("volume", "PUT", "/snapshots/{ident}", "member", "volume:update_snapshot")
def update_snapshot(call: Call, ident: str) -> Row:
    return {"snapshot": show_snapshot(call, _renamed(call, SNAPSHOT, ident))}


@route("volume", "DELETE", "/snapshots/{ident}", "member", "volume:delete_snapshot")
def delete_snapshot(call: Call, ident: str) -> Answer:
    row = fetch(call, SNAPSHOT, ident)
    if row["status"] not in ("available", "error"):
        raise Refused(400, "Invalid snapshot: Snapshot status must be available or error, and not part of a group snapshot.")
    vanish(call.cloud, SNAPSHOT, row)
    return Answer(202)
