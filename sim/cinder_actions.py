"""Cinder: actions on volumes and snapshots, and the attachments that Nova makes and others may make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim import glance
from sim.cinder import attachments
from sim.cinder_rows import (
    ATTACHMENT,
    SNAPSHOT,
    VOLUME,
    administrator,
    check_quota,
    fetch,
    later,
    listing,
    new,
    required,
    touch,
    type_of,
    vanish,
)
from sim.faults import WEBOB_404, Refused
from sim.population_volumes import attachments_of
from sim.web import Answer, Call, invalid, route
from sim.world import Row, micro

Action = Callable[[Call, Row, Any], Answer | None]
_ADMIN = "volume_extension:volume_admin_actions"
ACCEPTED, DONE = Answer(202), Answer(200)


def _status(row: Row, *allowed: str, words: str) -> None:
    """Raises Refused 400 unless the row's status is one of ``allowed``."""
    if row["status"] not in allowed:
        raise Refused(400, words)


def _number(name: str, given: Any, key: str) -> int:
    value = given.get(key) if isinstance(given, dict) else None
    if not str(value).isdigit():
        raise Refused(400, invalid(key, value, "does not match '^[0-9]+$'"))
    return int(str(value))


def _extend(call: Call, row: Row, given: Any) -> Answer:
    size = _number("os-extend", given, "new_size")
    if size <= row["size"]:
        raise Refused(400, "Invalid input received: New size for extend must be greater than current size. "
                           f"(current: {row['size']}, extended: {size}).")  # fmt: skip
    allowed = ("available", "in-use") if call.since(42) else ("available",)
    _status(row, *allowed, words=f"Invalid volume: Volume {row['id']} status must be '{{'status': 'available'}}' to extend, "
                                 f"currently {row['status']}.")  # fmt: skip
    kind = call.cloud["volume_types"][row["type_id"]]["name"]
    more = size - row["size"]
    check_quota(call, {"gigabytes": more, f"gigabytes_{kind}": more})
    before = row["status"]
    touch(call.cloud, row, status="extending")
    later(call.cloud, VOLUME, row, status=before, size=size)
    return ACCEPTED


def _retype(call: Call, row: Row, given: Any) -> Answer:
    kind = type_of(call, given.get("new_type") if isinstance(given, dict) else None)
    if kind["id"] == row["type_id"]:
        raise Refused(400, f"Invalid input received: New volume_type same as original: {kind['name']}.")
    _status(row, "available", "in-use", words=f"Invalid volume: Unable to retype volume in state {row['status']}")
    before = row["status"]
    touch(call.cloud, row, status="retyping")
    later(call.cloud, VOLUME, row, status=before, type_id=kind["id"])
    return ACCEPTED


_STATUSES = (
    "creating", "available", "deleting", "error", "error_deleting", "error_managing", "managing", "attaching", "in-use",
    "detaching", "maintenance", "restoring-backup", "error_restoring", "reserved", "awaiting-transfer", "backing-up",
    "error_backing-up", "error_extending", "downloading", "uploading", "retyping", "extending",
)  # fmt: skip


_SNAPSHOT_STATUSES = (
    "error", "available", "creating", "deleting", "deleted", "updating", "error_deleting", "unmanaging", "backing-up", "restoring",
)  # fmt: skip


def _reset(call: Call, row: Row, given: Any) -> Answer:
    administrator(call, f"{_ADMIN}:reset_status")
    status = (given or {}).get("status", "available")
    if status not in _STATUSES:
        raise Refused(400, f"Volume status: {status} is invalid, valid statuses are: {_STATUSES}.")
    known = {"status": "status", "migration_status": "migration_status", "attach_status": "attach_status"}
    wanted = {known[k]: v for k, v in (given or {}).items() if k in known}
    if not wanted:
        raise Refused(400, "Must specify 'status', 'attach_status' or 'migration_status' in request body.")
    touch(call.cloud, row, **wanted)
    return ACCEPTED


def _force_delete(call: Call, row: Row, _: Any) -> Answer:
    administrator(call, f"{_ADMIN}:force_delete")
    vanish(call.cloud, VOLUME, row)
    return ACCEPTED


def _bootable(call: Call, row: Row, given: Any) -> Answer:
    required(given or {}, "os-set_bootable", "bootable")
    touch(call.cloud, row, bootable=str(given["bootable"]).lower() == "true")
    return DONE


def _readonly(call: Call, row: Row, given: Any) -> Answer:
    value = str((given or {}).get("readonly")).lower() == "true"
    touch(call.cloud, row, readonly=value, metadata=row["metadata"] | {"readonly": str(value)})
    return ACCEPTED


def _reserve(call: Call, row: Row, _: Any) -> Answer:
    _status(row, "available", words="Invalid volume: Volume status must be available to reserve.")
    touch(call.cloud, row, status="attaching")
    return ACCEPTED


def _unreserve(call: Call, row: Row, _: Any) -> Answer:
    if row["status"] in ("attaching", "reserved"):
        touch(call.cloud, row, status="in-use" if attachments(call.cloud, row) else "available")
    return ACCEPTED


def _begin_detaching(call: Call, row: Row, _: Any) -> Answer:
    _status(row, "in-use", words="Invalid volume: Unable to detach volume. Volume status must be 'in-use' and attach_status must "
                                 "be 'attached' to detach.")  # fmt: skip
    touch(call.cloud, row, status="detaching")
    return ACCEPTED


def _roll_detaching(call: Call, row: Row, _: Any) -> Answer:
    if row["status"] == "detaching":
        touch(call.cloud, row, status="in-use")
    return ACCEPTED


def _attach(call: Call, row: Row, given: Any) -> Answer:
    given = given or {}
    _attached(call, row, given.get("instance_uuid"), given.get("host_name"), given.get("mountpoint"), given.get("mode") or "rw")
    return ACCEPTED


def _attached(call: Call, row: Row, server: str | None, host: str | None, device: str | None, mode: str) -> Row:
    made = new(
        call.cloud, ATTACHMENT, row["project_id"], call.who.user_id, volume_id=row["id"], server_id=server, host=host,
        device=device,
        mode=mode, status="attached", attached_at=call.cloud.now(), connector=None,
    )  # fmt: skip
    touch(call.cloud, row, status="in-use")
    return made


def _detach(call: Call, row: Row, given: Any) -> Answer:
    wanted = (given or {}).get("attachment_id")
    for a in attachments(call.cloud, row):
        if wanted in (None, a["id"]):
            del call.cloud["attachments"][a["id"]]
    if not attachments(call.cloud, row):
        touch(call.cloud, row, status="available")
    return ACCEPTED


def _connect(call: Call, row: Row, _: Any) -> Answer:
    data = {"device_path": f"/volumes/volume-{row['id']}", "qos_specs": None, "access_mode": "rw", "encrypted": False}
    return Answer(200, {"connection_info": {"driver_volume_type": "local", "data": data}})


def _upload(call: Call, row: Row, given: Any) -> Answer:
    given = given or {}
    required(given, "os-volume_upload_image", "image_name")
    forced = str(given.get("force", "")).lower() == "true"
    if row["status"] != "available" and not (forced and row["status"] == "in-use"):
        raise Refused(400, "Invalid volume: Volume status must be available/in-use.")
    formats = {"disk_format": given.get("disk_format", "raw"), "container_format": given.get("container_format", "bare")}
    image = glance.make(call.cloud, call.who.project_id, name=given["image_name"], **formats)
    image["visibility"] = given.get("visibility", "private") if call.since(1) else "private"
    before = row["status"]
    touch(call.cloud, row, status="uploading")
    later(call.cloud, VOLUME, row, lambda: glance.activate(call.cloud, image, f"volume {row['id']}".encode()), status=before)
    kind = call.cloud["volume_types"][row["type_id"]]
    doc = {
        "id": row["id"], "updated_at": micro(row["updated_at"]), "status": "uploading", "display_description": row["description"],
        "size": row["size"], "volume_type": {
            **{k: kind[k] for k in ("id", "name", "description", "extra_specs", "qos_specs_id")}, "is_public": kind["public"],
            "created_at": micro(row["created_at"]), "updated_at": None, "deleted": False, "deleted_at": None,
        },
        "image_id": image["id"], **formats, "image_name": image["name"],
    }  # fmt: skip
    if call.since(1):
        doc |= {"visibility": image["visibility"], "protected": bool(given.get("protected", False))}
    return Answer(202, {"os-volume_upload_image": doc})


def _revert(call: Call, row: Row, given: Any) -> Answer:
    snapshots = [s for s in call.cloud["snapshots"].values() if s["volume_id"] == row["id"]]
    if not snapshots:
        raise Refused(400, f"Volume {row['id']} doesn't have any snapshots.")
    latest = max(snapshots, key=lambda s: s["n"])
    if latest["id"] != (given or {}).get("snapshot_id"):
        raise Refused(400, f"Specified snapshot_id {(given or {}).get('snapshot_id')} isn't the latest one of volume {row['id']}.")
    _status(row, "available", "in-use", words=f"Invalid volume: Can't revert volume {row['id']} to its latest snapshot "
                                              f"{latest['id']}. Volume's status must be one of "
                                              "('available', 'in-use').")  # fmt: skip
    before = row["status"]
    touch(call.cloud, row, status="reverting")
    later(call.cloud, VOLUME, row, status=before, size=latest["size"])
    return ACCEPTED


def _migrate(call: Call, row: Row, given: Any) -> Answer:
    administrator(call, f"{_ADMIN}:migrate_volume")
    host = (given or {}).get("host")
    if not host or not str(host).startswith(f"{call.cloud.name}-ctl@"):
        raise Refused(400, f"Invalid host: No available service named {host}")
    touch(call.cloud, row, migration_status="starting")
    later(call.cloud, VOLUME, row, host=host, migration_status="success")
    return ACCEPTED


def _image_metadata(call: Call, row: Row, given: Any) -> Answer:
    values = (given or {}).get("metadata") or {}
    touch(call.cloud, row, image={**(row["image"] or {}), **values})
    return Answer(200, {"metadata": row["image"]})


def _show_image_metadata(call: Call, row: Row, _: Any) -> Answer:
    return Answer(200, {"metadata": row["image"] or {}})


def _unset_image_metadata(call: Call, row: Row, given: Any) -> Answer:
    key = (given or {}).get("key")
    if key not in (row["image"] or {}):
        raise Refused(404, f"Volume {row['id']} has no metadata with key {key}.")
    touch(call.cloud, row, image={k: v for k, v in row["image"].items() if k != key})
    return DONE


VOLUME_ACTIONS: dict[str, tuple[int, Action]] = {
    # name: since, what it does
    "os-extend": (0, _extend), "os-retype": (0, _retype), "os-reset_status": (0, _reset), "os-force_delete": (0, _force_delete),
    "os-set_bootable": (0, _bootable), "os-update_readonly_flag": (0, _readonly), "os-reserve": (0, _reserve),
    "os-unreserve": (0, _unreserve), "os-begin_detaching": (0, _begin_detaching), "os-roll_detaching": (0, _roll_detaching),
    "os-attach": (0, _attach), "os-detach": (0, _detach), "os-force_detach": (0, _detach),
    "os-initialize_connection": (0, _connect), "os-terminate_connection": (0, lambda *_: ACCEPTED),
    "os-volume_upload_image": (0, _upload), "revert": (40, _revert), "os-migrate_volume": (0, _migrate),
    "os-set_image_metadata": (0, _image_metadata), "os-show_image_metadata": (0, _show_image_metadata),
    "os-unset_image_metadata": (0, _unset_image_metadata),
}  # fmt: skip


def _action(call: Call) -> tuple[str, Any]:
    if not isinstance(call.doc, dict) or len(call.doc) != 1:
        raise Refused(400, "Multiple body" if isinstance(call.doc, dict) and call.doc else "Missing request body")
    return next(iter(call.doc.items()))


@route("volume", "POST", "/volumes/{ident}/action", "member", "volume:action")
def act(call: Call, ident: str) -> Answer:
    name, given = _action(call)
    since, do = VOLUME_ACTIONS.get(name, (1000, None))
    if do is not None and not call.since(since):
        raise Refused(404, WEBOB_404)
    if do is None:
        raise Refused(400, f"There is no such action: {name}. Verify the request body and Content-Type header and try again.")
    return do(call, fetch(call, VOLUME, ident), given) or ACCEPTED


@route("volume", "POST", "/snapshots/{ident}/action", "member", "volume:action")
def act_on_snapshot(call: Call, ident: str) -> Answer:
    name, given = _action(call)
    row = fetch(call, SNAPSHOT, ident)
    if name == "os-force_delete":
        administrator(call, f"volume_extension:snapshot_admin_actions:{name[3:]}")
        vanish(call.cloud, SNAPSHOT, row)
    elif name in ("os-reset_status", "os-update_snapshot_status"):
        administrator(call, f"volume_extension:snapshot_admin_actions:{name[3:]}")
        status = (given or {}).get("status")
        if status not in _SNAPSHOT_STATUSES:
            raise Refused(400, f"Snapshot status: {status} is invalid, valid statuses are: {_SNAPSHOT_STATUSES}.")
        touch(call.cloud, row, status=status)
    else:
        raise Refused(400, f"There is no such action: {name}. Verify the request body and Content-Type header and try again.")
    return ACCEPTED


def _brief(call: Call, row: Row) -> Row:
    return {"id": row["id"], "status": row["status"], "instance": row["server_id"], "volume_id": row["volume_id"]}


def _attachment(call: Call, row: Row) -> Row:
    return _brief(call, row) | {
        "attached_at": micro(row["attached_at"]) or "", "detached_at": "", "attach_mode": row["mode"],
        "connection_info": {"driver_volume_type": "local"} if row["status"] == "attached" else {},
    }  # fmt: skip


@route("volume", "GET", "/attachments", low=27)
def list_attachments(call: Call) -> Row:
    return listing(call, ATTACHMENT, _brief)


@route("volume", "GET", "/attachments/detail", low=27)
def list_attachments_detail(call: Call) -> Row:
    return listing(call, ATTACHMENT, _attachment)


@route("volume", "GET", "/attachments/{ident}", low=27)
def attachment(call: Call, ident: str) -> Row:
    return {"attachment": _attachment(call, fetch(call, ATTACHMENT, ident))}


@route("volume", "POST", "/attachments", "member", "volume:attachment_create", low=27)
def attach(call: Call) -> Row:
    given = call.body("attachment")
    required(given, "attachment", "volume_uuid")
    volume = fetch(call, VOLUME, str(given.get("volume_uuid")))
    free = volume["status"] in ("available", "downloading", *(("in-use",) if volume["multiattach"] else ()))
    instance = given.get("instance_uuid")
    migrates = volume["status"] in ("in-use", "reserved") and instance and instance in {
        a["server_id"] for a in attachments_of(call.cloud["attachments"], volume["id"])
    }  # fmt: skip
    if not free and not migrates:
        raise Refused(400, f"Invalid volume: Volume {volume['id']} status must be available or downloading to reserve, but the "
                           f"current status is {volume['status']}.")  # fmt: skip
    connector = given.get("connector") or {}
    row = new(
        call.cloud, ATTACHMENT, volume["project_id"], call.who.user_id, volume_id=volume["id"],
        server_id=given.get("instance_uuid"), host=connector.get("host"),
        device=connector.get("mountpoint"), mode=given.get("mode") or "null", status="reserved",
        attached_at=None,
    )  # fmt: skip
    if free:
        touch(call.cloud, volume, status="reserved")
    return {"attachment": _attachment(call, row)}


@route("volume", "PUT", "/attachments/{ident}", "member", "volume:attachment_update", low=27)
def connect(call: Call, ident: str) -> Row:
    row = fetch(call, ATTACHMENT, ident)
    connector = call.body("attachment").get("connector") or {}
    row |= {"status": "attaching", "host": connector.get("host"), "device": connector.get("mountpoint") or row["device"]}
    touch(call.cloud, fetch(call, VOLUME, row["volume_id"]), status="attaching")
    return {"attachment": _attachment(call, row)}


@route("volume", "POST", "/attachments/{ident}/action", "member", "volume:attachment_complete", low=44)
def complete(call: Call, ident: str) -> Answer:
    row = fetch(call, ATTACHMENT, ident)
    row |= {"status": "attached", "attached_at": call.cloud.now()}
    touch(call.cloud, fetch(call, VOLUME, row["volume_id"]), status="in-use")
    return Answer(204)


@route("volume", "DELETE", "/attachments/{ident}", "member", "volume:attachment_delete", low=27)
def detach(call: Call, ident: str) -> Row:
    row = fetch(call, ATTACHMENT, ident)
    del call.cloud["attachments"][ident]
    others = attachments_of(call.cloud["attachments"], row["volume_id"])
    volume = call.cloud["volumes"].get(row["volume_id"])
    if volume is not None and not others:
        touch(call.cloud, volume, status="available")
    return {"attachments": [_brief(call, a) for a in others]}
