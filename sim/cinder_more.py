"""Cinder: backups, transfers, groups, their snapshots, messages."""

from __future__ import annotations

import secrets

from sim.cinder import new_volume, take_snapshot
from sim.cinder_rows import (
    BACKUP,
    GROUP,
    GROUP_SNAPSHOT,
    MESSAGE,
    SNAPSHOT,
    TRANSFER,
    VOLUME,
    administrator,
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
from sim.web import Answer, Call, route
from sim.world import Row, micro


def _brief_backup(call: Call, row: Row) -> Row:
    return {"id": row["id"], "name": row["name"], "links": links(call, BACKUP, row["id"])}


def _backup(call: Call, row: Row) -> Row:
    ident = row["id"]
    doc = {
        "id": ident, "status": row["status"], "size": row["size"], "object_count": 0, "availability_zone": "nova",
        "container": f"{ident[:2]}/{ident[2:4]}/{ident}", **times(row), "name": row["name"], "description": row["description"],
        "fail_reason": None, "volume_id": row["volume_id"], "links": links(call, BACKUP, ident),
        "is_incremental": row["incremental"], "has_dependent_backups": False, "snapshot_id": row["snapshot_id"],
        "data_timestamp": micro(row["created_at"]),
    }  # fmt: skip
    if call.who.admin and call.since(18):
        doc["os-backup-project-attr:project_id"] = row["project_id"]
    if call.since(43):
        doc["metadata"] = row["metadata"]
    if call.who.admin and call.since(56):
        doc["user_id"] = row["user_id"]
    return doc


@route("volume", "GET", "/backups")
def backups(call: Call) -> Row:
    return listing(call, BACKUP, _brief_backup)


@route("volume", "GET", "/backups/detail")
def backups_detail(call: Call) -> Row:
    return listing(call, BACKUP, _backup)


@route("volume", "GET", "/backups/{ident}")
def backup(call: Call, ident: str) -> Row:
    return {"backup": _backup(call, fetch(call, BACKUP, ident))}


@route("volume", "POST", "/backups", "member", "backup:create")
def create_backup(call: Call) -> Answer:
    given = call.body("backup")
    required(given, "backup", "volume_id")
    volume = fetch(call, VOLUME, str(given.get("volume_id")))
    forced = str(given.get("force", "")).lower() == "true"
    if volume["status"] != "available" and not (forced and volume["status"] == "in-use"):
        raise Refused(400, f"Invalid volume: Volume to be backed up must be available or in-use, but the current status is "
                           f'"{volume["status"]}".')  # fmt: skip
    check_quota(call, {"backups": 1, "backup_gigabytes": volume["size"]})
    row = new(
        call.cloud, BACKUP, call.who.project_id, call.who.user_id, name=given.get("name"), description=given.get("description"),
        status="creating", size=volume["size"], volume_id=volume["id"], snapshot_id=given.get("snapshot_id"),
        incremental=bool(given.get("incremental", False)), metadata=given.get("metadata") or {},
    )  # fmt: skip
    before = volume["status"]
    touch(call.cloud, volume, status="backing-up")
    later(call.cloud, VOLUME, volume, status=before)
    later(call.cloud, BACKUP, row, status="available")
    return Answer(202, {"backup": _brief_backup(call, row)})


@route("volume", "PUT", "/backups/{ident}", "member", "backup:update", low=9)
def update_backup(call: Call, ident: str) -> Row:
    row, given = fetch(call, BACKUP, ident), call.body("backup")
    touch(call.cloud, row, **{k: v for k, v in given.items() if k in ("name", "description", "metadata")})
    return {"backup": _brief_backup(call, row)}


@route("volume", "DELETE", "/backups/{ident}", "member", "backup:delete")
def delete_backup(call: Call, ident: str) -> Answer:
    row = fetch(call, BACKUP, ident)
    if row["status"] not in ("available", "error"):
        raise Refused(400, "Invalid backup: Backup status must be available or error")
    vanish(call.cloud, BACKUP, row)
    return Answer(202)


@route("volume", "POST", "/backups/{ident}/restore", "member", "backup:restore")
def restore(call: Call, ident: str) -> Answer:
    given, row = call.body("restore"), fetch(call, BACKUP, ident)
    if row["status"] != "available":
        raise Refused(400, "Invalid backup: Backup status must be available")
    if given.get("volume_id"):
        volume = fetch(call, VOLUME, str(given["volume_id"]))
    else:
        check_quota(call, {"volumes": 1, "gigabytes": row["size"]})
        name = given.get("name") or f"restore_backup_{ident}"
        told = {"description": "auto-created_from_restore_from_backup", "metadata": {"src_backup_id": ident}}
        who = call.who
        volume = new_volume(call.cloud, who.project_id, who.user_id, size=row["size"], status="creating", name=name, **told)
    touch(call.cloud, row, status="restoring")
    touch(call.cloud, volume, status="restoring-backup")
    later(call.cloud, BACKUP, row, status="available")
    later(call.cloud, VOLUME, volume, status="available")
    return Answer(202, {"restore": {"backup_id": ident, "volume_id": volume["id"], "volume_name": volume["name"]}})


def _transfer(call: Call, row: Row) -> Row:
    doc = {
        "id": row["id"], "created_at": micro(row["created_at"]), "name": row["name"], "volume_id": row["volume_id"],
        "links": links(call, TRANSFER, row["id"]),
    }  # fmt: skip
    if call.since(57):
        doc |= {"source_project_id": row["project_id"], "destination_project_id": None, "accepted": False}
    return doc | ({"no_snapshots": row["no_snapshots"]} if call.since(55) else {})


def _brief_transfer(call: Call, row: Row) -> Row:
    doc = _transfer(call, row)
    return {k: doc[k] for k in ("id", "name", "volume_id", "links")}


def _transfers(path: str, low: int) -> None:
    """The same calls under the old name and the new."""

    @route("volume", "GET", f"/{path}", low=low)
    def index(call: Call) -> Row:
        return listing(call, TRANSFER, _brief_transfer)

    @route("volume", "GET", f"/{path}/detail", low=low)
    def detail(call: Call) -> Row:
        return listing(call, TRANSFER, _transfer)

    @route("volume", "GET", f"/{path}/{{ident}}", low=low)
    def one(call: Call, ident: str) -> Row:
        return {"transfer": _transfer(call, fetch(call, TRANSFER, ident))}

    @route("volume", "POST", f"/{path}", "member", "volume:create_transfer", low=low)
    def create(call: Call) -> Answer:
        given = call.body("transfer")
        required(given, "transfer", "volume_id")
        volume = fetch(call, VOLUME, str(given.get("volume_id")))
        if volume["status"] != "available":
            raise Refused(400, "Invalid volume: status must be available")
        row = new(
            call.cloud, TRANSFER, call.who.project_id, call.who.user_id, name=given.get("name"), volume_id=volume["id"],
            auth_key=secrets.token_hex(8), no_snapshots=bool(given.get("no_snapshots", False)),
        )  # fmt: skip
        touch(call.cloud, volume, status="awaiting-transfer")
        return Answer(202, {"transfer": {**_transfer(call, row), "auth_key": row["auth_key"]}})

    @route("volume", "POST", f"/{path}/{{ident}}/accept", "member", "volume:accept_transfer", low=low)
    def accept(call: Call, ident: str) -> Answer:
        row = call.cloud["transfers"].get(ident)  # whoever has the key may have it
        if row is None:
            raise Refused(404, f"Transfer {ident} could not be found.")
        if call.body("accept").get("auth_key") != row["auth_key"]:
            raise Refused(400, f"Invalid auth key: Attempt to transfer {ident} with invalid auth key.")
        volume = call.cloud["volumes"][row["volume_id"]]
        check_quota(call, {"volumes": 1, "gigabytes": volume["size"]})
        moved = [volume, *(s for s in call.cloud["snapshots"].values() if s["volume_id"] == volume["id"])]
        for thing in moved:
            touch(call.cloud, thing, project_id=call.who.project_id, user_id=call.who.user_id)
        volume["status"] = "available"
        del call.cloud["transfers"][ident]
        return Answer(202, {"transfer": {"id": ident, "name": row["name"], "volume_id": volume["id"],
                                         "links": links(call, TRANSFER, ident)}})  # fmt: skip

    @route("volume", "DELETE", f"/{path}/{{ident}}", "member", "volume:delete_transfer", low=low)
    def delete(call: Call, ident: str) -> Answer:
        row = fetch(call, TRANSFER, ident)
        touch(call.cloud, call.cloud["volumes"][row["volume_id"]], status="available")
        del call.cloud["transfers"][ident]
        return Answer(202)


for _path, _low in (("os-volume-transfer", 0), ("volume-transfers", 0)):
    _transfers(_path, _low)


def _volumes_of(call: Call, group: str) -> list[Row]:
    return [v for v in call.cloud["volumes"].values() if v["group_id"] == group]


def _group(call: Call, row: Row) -> Row:
    doc = {
        "id": row["id"], "name": row["name"], "description": row["description"], "status": row["status"],
        "created_at": micro(row["created_at"]), "availability_zone": "nova", "group_type": row["group_type"],
        "volume_types": row["volume_types"],
    }  # fmt: skip
    newer = ((14, "group_snapshot_id", row["group_snapshot_id"]), (14, "source_group_id", row["source_group_id"]),
             (38, "replication_status", "disabled"))  # fmt: skip
    doc |= {name: value for low, name, value in newer if call.since(low)}
    if call.since(25) and call.flag("list_volume"):
        doc["volumes"] = [v["id"] for v in _volumes_of(call, row["id"])]
    return doc | ({"project_id": row["project_id"]} if call.since(58) and call.who.admin else {})


def _brief(_: Call, row: Row) -> Row:
    return {"id": row["id"], "name": row["name"]}


@route("volume", "GET", "/groups", low=13)
def groups(call: Call) -> Row:
    return listing(call, GROUP, _brief)


@route("volume", "GET", "/groups/detail", low=13)
def groups_detail(call: Call) -> Row:
    return listing(call, GROUP, _group)


@route("volume", "GET", "/groups/{ident}", low=13)
def group(call: Call, ident: str) -> Row:
    return {"group": _group(call, fetch(call, GROUP, ident))}


def _new_group(call: Call, given: Row, **values: object) -> Row:
    check_quota(call, {"groups": 1})
    row = new(
        call.cloud, GROUP, call.who.project_id, call.who.user_id, name=given.get("name"), description=given.get("description"),
        status="creating", group_snapshot_id=None, source_group_id=None, **values,
    )  # fmt: skip
    later(call.cloud, GROUP, row, status="available")
    return row


@route("volume", "POST", "/groups", "member", "group:create", low=13)
def create_group(call: Call) -> Answer:
    given = call.body("group")
    required(given, "group", "group_type", "volume_types")
    wanted = str(given.get("group_type"))
    kind = next((t for t in call.cloud["group_types"].values() if wanted in (t["id"], t["name"])), None)
    if kind is None:
        raise Refused(404, f"Group type {wanted} could not be found.")
    types = [type_of(call, t)["id"] for t in given.get("volume_types") or ()]
    row = _new_group(call, given, group_type=kind["id"], volume_types=types)
    return Answer(202, {"group": _brief(call, row)})


@route("volume", "POST", "/groups/action", "member", "group:create", low=14)
def create_group_from(call: Call) -> Answer:
    given = call.body("create-from-src")
    if given.get("group_snapshot_id"):
        source = fetch(call, GROUP, fetch(call, GROUP_SNAPSHOT, str(given["group_snapshot_id"]))["group_id"])
    else:
        source = fetch(call, GROUP, str(given.get("source_group_id")))
    row = _new_group(call, given, group_type=source["group_type"], volume_types=source["volume_types"])
    row |= {k: given.get(k) for k in ("group_snapshot_id", "source_group_id")}
    for v in _volumes_of(call, source["id"]):
        copy = new_volume(
            call.cloud, row["project_id"], row["user_id"], size=v["size"], status="creating", name=v["name"], group_id=row["id"],
            type_id=v["type_id"], source_volid=v["id"],
        )  # fmt: skip
        later(call.cloud, VOLUME, copy, status="available")
    return Answer(202, {"group": _brief(call, row)})


@route("volume", "PUT", "/groups/{ident}", "member", "group:update", low=13)
def update_group(call: Call, ident: str) -> Answer:
    row, given = fetch(call, GROUP, ident), call.body("group")
    if not given:
        raise Refused(400, "Invalid input for field/attribute group. Value: {}. {} is not valid under any of the given schemas")
    for key, group_id in (("add_volumes", ident), ("remove_volumes", None)):
        for v in (given.get(key) or "").split(","):
            if v:
                touch(call.cloud, fetch(call, VOLUME, v), group_id=group_id)
    touch(call.cloud, row, **{k: given[k] for k in ("name", "description") if k in given})
    return Answer(202)


@route("volume", "POST", "/groups/{ident}/action", "member", "group:delete", low=13)
def act_on_group(call: Call, ident: str) -> Answer:
    row = fetch(call, GROUP, ident)
    if isinstance(call.doc, dict) and "reset_status" in call.doc:
        administrator(call, "group:reset_status")
        touch(call.cloud, row, status=call.body("reset_status").get("status"))
        return Answer(202)
    volumes = _volumes_of(call, ident)
    if volumes and not call.body("delete").get("delete-volumes"):
        raise Refused(400, f"Invalid group: Group {ident} is not empty. delete-volumes flag must be set to True to delete it.")
    for v in volumes:
        vanish(call.cloud, VOLUME, v)
    vanish(call.cloud, GROUP, row)
    return Answer(202)


def _group_snapshot(call: Call, row: Row) -> Row:
    return {
        "id": row["id"], "group_id": row["group_id"], "group_type_id": row["group_type"], "status": row["status"],
        "created_at": micro(row["created_at"]), "name": row["name"], "description": row["description"],
        **({"project_id": row["project_id"]} if call.since(58) and call.who.admin else {}),
    }  # fmt: skip


def _brief_group_snapshot(_: Call, row: Row) -> Row:
    return {"id": row["id"], "name": row["name"], "group_type_id": row["group_type"]}


@route("volume", "GET", "/group_snapshots", low=14)
def group_snapshots(call: Call) -> Row:
    return listing(call, GROUP_SNAPSHOT, _brief_group_snapshot)


@route("volume", "GET", "/group_snapshots/detail", low=14)
def group_snapshots_detail(call: Call) -> Row:
    return listing(call, GROUP_SNAPSHOT, _group_snapshot)


@route("volume", "GET", "/group_snapshots/{ident}", low=14)
def group_snapshot(call: Call, ident: str) -> Row:
    return {"group_snapshot": _group_snapshot(call, fetch(call, GROUP_SNAPSHOT, ident))}


@route("volume", "POST", "/group_snapshots", "member", "group:create_group_snapshot", low=14)
def create_group_snapshot(call: Call) -> Answer:
    given = call.body("group_snapshot")
    required(given, "group_snapshot", "group_id")
    source = fetch(call, GROUP, str(given["group_id"]))
    if not _volumes_of(call, source["id"]):
        raise Refused(400, "Invalid Group: Source group cannot be empty or in 'creating' or 'updating' state. No group snapshot "
                           "will be created.")  # fmt: skip
    row = new(
        call.cloud, GROUP_SNAPSHOT, call.who.project_id, call.who.user_id, name=given.get("name"),
        description=given.get("description"), group_id=source["id"], group_type=source["group_type"], status="creating",
    )  # fmt: skip
    for v in _volumes_of(call, source["id"]):
        take_snapshot(call, v, given.get("name"), group=row["id"])
    later(call.cloud, GROUP_SNAPSHOT, row, status="available")
    return Answer(202, {"group_snapshot": _brief_group_snapshot(call, row)})


@route("volume", "DELETE", "/group_snapshots/{ident}", "member", "group:delete_group_snapshot", low=14)
def delete_group_snapshot(call: Call, ident: str) -> Answer:
    row = fetch(call, GROUP_SNAPSHOT, ident)
    for s in [s for s in call.cloud["snapshots"].values() if s["group_snapshot_id"] == ident]:
        vanish(call.cloud, SNAPSHOT, s)
    vanish(call.cloud, GROUP_SNAPSHOT, row)
    return Answer(202)


@route("volume", "GET", "/messages", low=3)
def messages(call: Call) -> Row:
    return listing(call, MESSAGE, lambda _, row: row)


@route("volume", "GET", "/messages/{ident}", low=3)
def message(call: Call, ident: str) -> Row:
    return {"message": fetch(call, MESSAGE, ident)}
