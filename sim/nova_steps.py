"""Nova: changes of a server that take more than another state: reboot, resize, rebuild, images, shelve."""

from __future__ import annotations

import secrets
from typing import Any

from sim import glance
from sim.faults import Refused
from sim.hosts import hosts, place, zone_of, zones
from sim.nova import unlocked
from sim.nova_catalogue import find_flavor
from sim.nova_quota import check_quota
from sim.nova_schema import choice, fields, integer, strings, text
from sim.nova_view import act, show, slim, touch
from sim.web import Answer, Call
from sim.world import Cloud, Row, new_id

Given = Any
SNAPPABLE = ("active", "stopped", "paused", "suspended")
REBUILDABLE = ("active", "stopped", "error")


def ready(s: Row, verb: str, states: tuple[str, ...], *, tasks: bool = False) -> None:
    """Raises Refused 409 for a server in the wrong state; ``tasks``: also while it does something else."""
    if states and s["vm_state"] not in states:
        raise Refused(409, f"Cannot '{verb}' instance {s['id']} while it is in vm_state {s['vm_state']}")
    if s["task_state"] is not None and not tasks:
        raise Refused(409, f"Cannot '{verb}' instance {s['id']} while it is in task_state {s['task_state']}")
    if s["launched_at"] is None and not tasks:
        raise Refused(409, f"Instance {s['id']} is in an invalid state for '{verb}'")


def soon(call: Call, s: Row, action: Row, **values: Any) -> None:
    """Change a server after half the time a build takes, and end its action."""
    cloud = call.cloud

    def done() -> None:
        action["finish"] = cloud.now()
        if not s["deleted"] and s["task_state"] != "deleting":
            touch(cloud, s, task_state=None, **values)

    cloud.later(cloud.options.build / 2, done)


# Reboot, resize, rebuild


def reboot_type(given: Given) -> None:
    kind = fields("reboot", given, ("type",))["type"]
    choice("type", kind, ["HARD", "Hard", "hard", "SOFT", "Soft", "soft"])


def reboot(call: Call, s: Row, given: Given) -> None:
    hard = given["type"].lower() == "hard"
    unlocked(call, s)
    if hard and s["task_state"] in (None, "rebooting", "rebooting_hard", "pausing", "unpausing", "suspending"):
        ready(s, "reboot", (*SNAPPABLE, "error"), tasks=True)
        if s["launched_at"] is None:
            raise Refused(409, f"Instance {s['id']} is in an invalid state for 'reboot'")
    else:
        ready(s, "reboot", (*SNAPPABLE, "error") if hard else ("active",))
    touch(call.cloud, s, task_state="rebooting_hard" if hard else "rebooting")
    soon(call, s, act(call.cloud, call, s, "reboot"), vm_state="active", power_state=1)


def resize_schema(given: Given) -> None:
    fields("resize", given, ("flavorRef",), ("OS-DCF:diskConfig",))


def resize(call: Call, s: Row, given: Given) -> None:
    cloud = call.cloud
    unlocked(call, s)
    ready(s, "resize", ("active", "stopped"))
    try:
        flavor = find_flavor(call, str(given["flavorRef"]))
    except Refused as e:
        raise Refused(400, e.message) from None
    if flavor["id"] == s["flavor"]["id"]:
        raise Refused(400, "When resizing, instances must change flavor!")
    more = {name: flavor[k] - s["flavor"][k] for name, k in (("cores", "vcpus"), ("ram", "ram"))}
    check_quota(call, more)
    other = place(cloud, s["pinned_zone"], s["host"]) or s["host"]
    _move_away(call, s, "resize", other, {**flavor, "extra_specs": dict(flavor["extra_specs"])})


def _migration(call: Call, s: Row, kind: str, to: str, flavor: Row) -> Row:
    """A row of the migrations' list."""
    keys, now = list(call.cloud["flavors"]), call.cloud.now()
    old, new = (keys.index(f["id"]) + 1 if f["id"] in keys else 0 for f in (s["flavor"], flavor))
    row = {
        "id": call.cloud.serial(), "uuid": new_id(), "instance_uuid": s["id"], "source_compute": s["host"],
        "source_node": s["host"], "dest_compute": to, "dest_node": to, "dest_host": "192.168.0.1",
        "status": "migrating", "migration_type": kind,
        "old_instance_type_id": old, "new_instance_type_id": new, "created_at": now, "updated_at": now,
        "user_id": call.who.user_id, "project_id": s["project_id"],
    }  # fmt: skip
    call.cloud["migrations"][row["uuid"]] = row
    return row


def _move_away(call: Call, s: Row, verb: str, to: str, flavor: Row) -> None:
    """To another host, another flavor, or both; to be confirmed."""
    cloud = call.cloud
    row = _migration(call, s, "resize" if verb == "resize" else "migration", to, flavor)
    s["before_resize"] = {k: s[k] for k in ("flavor", "host", "vm_state", "power_state")} | {"row": row}
    touch(cloud, s, task_state="resize_prep")
    soon(
        call,
        s,
        act(cloud, call, s, verb),
        vm_state="resized",
        flavor=flavor,
        flavor_key=flavor["id"],
        host=to,
        zone=zone_of(cloud, to),
    )
    cloud.later(cloud.options.build / 2, lambda: row.update(status="finished", updated_at=cloud.now()))


def migrate(call: Call, s: Row, given: Given) -> None:
    unlocked(call, s)
    ready(s, "migrate", ("active", "stopped"))
    to = place(call.cloud, s["pinned_zone"], s["host"])
    if to is None:
        raise Refused(400, "No valid host was found. No valid host found for cold migrate")
    _move_away(call, s, "migrate", to, s["flavor"])


def live_migrate(call: Call, s: Row, given: Given) -> None:
    cloud = call.cloud
    unlocked(call, s)
    ready(s, "os-migrateLive", ("active", "paused"))
    to = given.get("host") or place(cloud, s["pinned_zone"], s["host"])
    if to is None:
        raise Refused(400, "No valid host was found. There are not enough hosts available.")
    if to not in [h["host"] for h in hosts(cloud)]:
        raise Refused(400, f"Compute host {to} could not be found.")
    row = _migration(call, s, "live-migration", to, s["flavor"])
    touch(cloud, s, task_state="migrating")
    soon(call, s, act(cloud, call, s, "live-migration"), host=to, zone=zone_of(cloud, to))
    cloud.later(cloud.options.build / 2, lambda: row.update(status="completed", updated_at=cloud.now()))


def _settle(call: Call, s: Row, verb: str, outcome: str, task: str | None) -> Row:
    unlocked(call, s)
    ready(s, verb, ("resized",))
    before = s["before_resize"]
    before["row"] |= {"status": outcome, "updated_at": call.cloud.now()}
    touch(call.cloud, s, task_state=task)
    return dict(before)


def confirm(call: Call, s: Row, given: Given) -> Answer:
    before = _settle(call, s, "confirmResize", "confirmed", None)
    soon(call, s, act(call.cloud, call, s, "confirmResize"), vm_state=before["vm_state"], power_state=before["power_state"])
    return Answer(204)


def revert(call: Call, s: Row, given: Given) -> None:
    before = _settle(call, s, "revertResize", "reverted", "resize_reverting")
    soon(call, s, act(call.cloud, call, s, "revertResize"), vm_state=before["vm_state"], power_state=before["power_state"],
         flavor=before["flavor"], flavor_key=before["flavor"]["id"], host=before["host"])  # fmt: skip


REBUILD = {"name": 0, "adminPass": 0, "metadata": 0, "accessIPv4": 0, "accessIPv6": 0, "personality": 0, "OS-DCF:diskConfig": 0,
           "preserve_ephemeral": 0, "description": 19, "key_name": 54, "user_data": 57, "trusted_image_certificates": 63,
           "hostname": 90}  # fmt: skip


def rebuild(call: Call, s: Row, given: Given) -> Answer:
    cloud = call.cloud
    fields("rebuild", given, ("imageRef",), tuple(k for k, since in REBUILD.items() if call.since(since)))
    if "name" in given:
        text("name", given["name"])
    strings(given.get("metadata") or {})
    unlocked(call, s)
    ready(s, "rebuild", REBUILDABLE)
    image = cloud["images"].get(given["imageRef"])
    if image is None or not glance.visible(call, image):
        raise Refused(400, "Cannot find image for rebuild")
    if image["status"] != "active":
        raise Refused(400, f"Image {image['id']} is not active.")
    if given.get("key_name") and f"{call.who.user_id}/{given['key_name']}" not in cloud["keypairs"]:
        raise Refused(400, "Invalid key_name provided.")
    same = ("name", "metadata", "accessIPv4", "accessIPv6", "description", "key_name", "user_data", "hostname")
    before = s["vm_state"]
    touch(cloud, s, task_state="rebuilding", image_id=image["id"], fault=None, **{k: given[k] for k in same if k in given})
    s["image_props"] = {k: v for k, v in image["properties"].items() if isinstance(v, str)}
    stopped = before == "stopped"
    soon(call, s, act(cloud, call, s, "rebuild"), vm_state="stopped" if stopped else "active", power_state=4 if stopped else 1)
    doc = slim(call, show(call, s))
    doc["adminPass"] = given.get("adminPass") or password()
    doc |= {"key_name": s["key_name"]} if call.since(54) else {}
    doc |= {"user_data": s["user_data"]} if call.since(57) else {}
    return Answer(202, {"server": doc}, {"Location": f"{cloud.url('compute')}/v2.1/servers/{s['id']}"})


def password() -> str:
    return secrets.token_urlsafe(9)[:12]


# Images


def snapshot(call: Call, s: Row, name: str, more: Row, kind: str = "snapshot") -> Row:
    """An image of a server, without bits yet."""
    identity = call.cloud.identity
    image = call.cloud["images"].get(s["image_id"], {})
    props = {k: v for k, v in image.get("properties", {}).items() if k not in ("image_type", "backup_type")} | more
    owner, user = (identity[t].get(i, {}).get("name", "") for t, i in (("projects", s["project_id"]), ("users", call.who.user_id)))
    props |= {
        "base_image_ref": s["image_id"], "owner_user_name": user, "owner_project_name": owner,
        "boot_roles": ",".join(sorted(call.who.roles)), "instance_uuid": s["id"], "user_id": call.who.user_id, "image_type": kind,
        "image_location": "snapshot", "image_state": "available", "owner_id": s["project_id"],
    }  # fmt: skip
    return glance.make(call.cloud, s["project_id"], name=name, disk_format=image.get("disk_format", "raw"), container_format="bare",
                       visibility="private", min_disk=s["flavor"]["disk"], min_ram=image.get("min_ram", 0), **props)  # fmt: skip


def upload(cloud: Cloud, s: Row, image: Row) -> None:
    """The bits of a snapshot."""
    if image["id"] in cloud["images"]:
        glance.activate(cloud, image, f"snapshot of {s['id']}".encode())


def image_schema(given: Given) -> None:
    text("name", fields("createImage", given, ("name",), ("metadata",))["name"])
    strings(given.get("metadata") or {})


def create_image(call: Call, s: Row, given: Given) -> Answer:
    ready(s, "createImage", SNAPPABLE)
    return _imaged(call, s, "createImage", "image_snapshot_pending", snapshot(call, s, given["name"], given.get("metadata") or {}))


def _imaged(call: Call, s: Row, verb: str, task: str, image: Row) -> Answer:
    cloud = call.cloud
    touch(cloud, s, task_state=task)
    cloud.later(cloud.options.build / 2, lambda: upload(cloud, s, image))
    soon(call, s, act(cloud, call, s, verb))
    if call.since(45):
        return Answer(202, {"image_id": image["id"]})
    root = cloud.url("image") if verb == "createImage" else f"{cloud.url('compute')}/v2.1"
    url = f"{root}/images/{image['id']}"
    return Answer(202, headers={"Location": url, "Content-Type": "text/html; charset=UTF-8"})


def backup_schema(given: Given) -> None:
    fields("createBackup", given, ("name", "backup_type", "rotation"), ("metadata",))
    text("name", given["name"])
    integer("rotation", given["rotation"])


def backup(call: Call, s: Row, given: Given) -> Answer:
    ready(s, "createBackup", SNAPPABLE)
    more = {**(given.get("metadata") or {}), "backup_type": given["backup_type"]}
    image = snapshot(call, s, given["name"], more, "backup")
    mine = [i for i in call.cloud["images"].values() if i["properties"].get("instance_uuid") == s["id"]
            and i["properties"].get("backup_type") == given["backup_type"]]  # fmt: skip
    for old in mine[: max(len(mine) - int(given["rotation"]), 0)]:
        del call.cloud["images"][old["id"]]
    return _imaged(call, s, "createBackup", "image_backup", image)


# Shelve, rescue


def shelve(call: Call, s: Row, given: Given) -> None:
    cloud = call.cloud
    unlocked(call, s)
    ready(s, "shelve", SNAPPABLE)
    image = snapshot(call, s, f"{s['name']}-shelved", {})
    cloud.later(cloud.options.build / 2, lambda: upload(cloud, s, image))
    s["shelved_image"] = image["id"]
    touch(cloud, s, task_state="shelving")
    soon(call, s, act(cloud, call, s, "shelve"), vm_state="shelved_offloaded", power_state=4, host=None, zone=None)


def unshelve(call: Call, s: Row, given: Given) -> None:
    cloud = call.cloud
    fields(
        "unshelve", given or {}, (), (*(("availability_zone",) if call.since(77) else ()), *(("host",) if call.since(91) else ()))
    )
    unlocked(call, s)
    ready(s, "unshelve", ("shelved", "shelved_offloaded"))
    wanted = (given or {}).get("availability_zone")
    if wanted is not None and wanted not in zones(cloud):
        raise Refused(400, "The requested availability zone is not available")
    if "availability_zone" in (given or {}):
        s["pinned_zone"] = wanted
    host = place(cloud, s["pinned_zone"]) or hosts(cloud)[0]["host"]
    touch(cloud, s, task_state="unshelving")
    action = act(cloud, call, s, "unshelve")
    soon(call, s, action, vm_state="active", power_state=1, host=host, zone=zone_of(cloud, host), launched_at=cloud.now())
    cloud.later(cloud.options.build / 2, lambda: cloud["images"].pop(s.pop("shelved_image", ""), None))
